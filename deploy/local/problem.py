"""The one failure a person is meant to read."""


class Problem(Exception):
    """Something the user can put right. Its text is one line that says what is wrong and what to do."""
