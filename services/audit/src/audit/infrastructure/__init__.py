"""Where the log is kept: SQLite."""
