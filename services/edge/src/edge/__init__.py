"""The HTTP gateway: turns requests into bus calls and replies back. It owns no rules."""
