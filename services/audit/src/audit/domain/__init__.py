"""The rules of the log: what an entry's bytes are, what covers them, and when they are no longer what was written."""
