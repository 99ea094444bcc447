"""Dialects: what each kind of HTTP server is sent, and what its answers mean."""
