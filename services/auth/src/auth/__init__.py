"""The auth service: who people and programs are, and what proves it."""
