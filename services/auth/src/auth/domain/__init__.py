"""The rules of identities: pure, with time and randomness passed in."""
