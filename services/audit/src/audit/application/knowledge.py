"""What this process knows of the log: how far it has verified it, what it has seen committed, what it found wrong."""

import logging
import time
from collections.abc import Sequence
from enum import StrEnum

from audit.domain.chain import EMPTY, Head
from audit.domain.verification import Anchors

_log = logging.getLogger(__name__)


class Status(StrEnum):
    """What can be said of the whole log."""

    VALID = "valid"
    INVALID = "invalid"
    VERIFYING = "verifying"


class Knowledge:
    """Kept in memory, on the event loop. A log found bad stays bad until a verification of all succeeds."""

    def __init__(self) -> None:
        self.anchors = Anchors()
        self.seen = EMPTY
        self.first_bad: int | None = None
        self._found_bad_at = float("-inf")
        self._whole_at: float | None = None

    @property
    def status(self) -> Status:
        """VERIFYING until the whole log has been verified once."""
        if self.first_bad is not None:
            return Status.INVALID
        return Status.VERIFYING if self._whole_at is None else Status.VALID

    @property
    def scrub_age(self) -> float | None:
        """Seconds since the last successful verification of all began; None before the first."""
        return None if self._whole_at is None else time.monotonic() - self._whole_at

    def committed(self, head: Head) -> None:
        """This entry is committed, after everything that was seen before."""
        if head.index > self.seen.index:
            self.seen = head

    def verified(self, heads: Sequence[Head]) -> None:
        """These entries were verified in order; some of them perhaps already by somebody else."""
        new = [head for head in heads if head.index > self.anchors.head.index]
        if new and new[0].index == self.anchors.head.index + 1:
            self.anchors = self.anchors.extended(new)
            self.committed(self.anchors.head)

    def found_bad(self, index: int) -> None:
        """The entry at `index` is not what was written there, or is gone."""
        self._found_bad_at = max(self._found_bad_at, time.monotonic())
        if self.first_bad is None:
            _log.error("log_is_not_as_written", extra={"firstBadIndex": index})
        if self.first_bad is None or index < self.first_bad:
            self.first_bad = index

    def contradicted(self, index: int) -> None:
        """A witness saw something else at `index`, or more than there is: what is here cannot undo that by being whole."""
        self.found_bad(index)
        self._found_bad_at = float("inf")

    def found_whole(self, *, began: float) -> None:
        """A verification of all that began then (monotonic seconds) succeeded."""
        if began > self._found_bad_at:
            self.first_bad = None
        self._whole_at = max(began, self._whole_at or began)
