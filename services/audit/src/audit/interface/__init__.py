"""The doors of the audit service: the bus."""
