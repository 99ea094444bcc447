"""Where the records of all processes go."""

from collections.abc import Callable

from deploy.local.log_file import LogFile
from deploy.local.rendering import is_severe
from deploy.local.terminal import Terminal

Shows = Callable[[bytes], bool]


def everything(record: bytes) -> bool:
    """Shows the whole log: the foreground."""
    return True


def nothing(record: bytes) -> bool:
    """Shows none of it: the background."""
    return False


class Log:
    """Every record goes to the file, and those that `shows` picks to the terminal: at first only what is wrong."""

    def __init__(self, file: LogFile, terminal: Terminal) -> None:
        self.shows: Shows = is_severe
        self._file = file
        self._terminal = terminal

    def __call__(self, record: bytes) -> None:
        """Takes one record."""
        self._file.write(record)
        if self.shows(record):
            self._terminal.show(record)
