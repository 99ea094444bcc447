"""How the bus reaches the use cases."""
