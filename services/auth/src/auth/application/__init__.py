"""The use cases of identities, and the ports they need."""
