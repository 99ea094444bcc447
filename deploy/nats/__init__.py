"""Who may use the bus, and how: identities and permissions."""
