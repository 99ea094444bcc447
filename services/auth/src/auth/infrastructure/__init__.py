"""SQL, JWT, scrypt: what the use cases' ports stand for."""
