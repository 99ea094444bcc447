"""What crosses the bus: one module for each thing that is asked for or told."""
