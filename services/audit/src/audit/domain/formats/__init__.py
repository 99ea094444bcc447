"""The forms in which the log leaves the platform."""
