"""What crosses the bus: one module per service that answers."""
