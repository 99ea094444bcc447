"""The witness: remembers the last checkpoint of the audit log, and cosigns only what extends it."""
