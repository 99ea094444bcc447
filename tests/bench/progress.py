"""Where a run is, for who waits for it."""

import sys


def progress(text: str) -> None:
    """Tell a person where the run is, on stderr."""
    print(text, file=sys.stderr, flush=True)
