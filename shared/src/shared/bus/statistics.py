"""What endpoints have done in this process: calls, failures and time."""


class Statistics:
    """Of one endpoint. Not frozen: it is counted with every call."""

    __slots__ = ("errors", "requests", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        """Calls that were answered with a failure, also with one of the caller's fault."""
        self.seconds = 0.0
        """From the arrival of each call to the end of its handler, together."""

    def ended(self, seconds: float, *, failed: bool) -> None:
        """A call was answered."""
        self.requests += 1
        self.seconds += seconds
        if failed:
            self.errors += 1
