"""What this process knows of the log: how far it has verified it, what it has seen committed, what it found wrong."""

import asyncio
import logging
import time
from collections.abc import Sequence
from enum import StrEnum

from audit.application.inspection import Findings
from audit.application.signing import Known
from audit.domain.chain import EMPTY, Head
from audit.domain.verification import NOTHING
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.notes import Verifier

_log = logging.getLogger(__name__)


class Status(StrEnum):
    """What can be said of the whole log."""

    VALID = "valid"
    INVALID = "invalid"
    VERIFYING = "verifying"


class Knowledge:
    """Kept in memory, on the event loop. A log found bad stays bad until a verification of all succeeds.

    `keys` are those whose checkpoints count.
    """

    def __init__(self, keys: Sequence[Verifier] = ()) -> None:
        self.keys = tuple(keys)
        self.seen = EMPTY
        self.newest: Checkpoint | None = None
        """The newest checkpoint that this process has made or met. What the file says later may not be less."""
        self.first_bad: int | None = None
        self.news = asyncio.Event()
        """Set whenever `first_bad` has become another."""
        self._base = NOTHING
        self._found_bad_at = float("-inf")
        self._whole_at: float | None = None

    @property
    def known(self) -> Known:
        """All that a look at the log has to be told."""
        return Known(self._base, self.seen, self.newest, self.keys)

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

    def checkpoint_made(self, checkpoint: Checkpoint) -> None:
        """This checkpoint is signed and stored."""
        if self.newest is None or checkpoint.size > self.newest.size:
            self.newest = checkpoint

    def learn(self, findings: Findings, *, began: float) -> None:
        """What a look at the log has shown that began then (monotonic seconds)."""
        if findings.newest is not None:
            self.checkpoint_made(findings.newest.checkpoint)
        if findings.first_bad is not None:
            self.found_bad(findings.first_bad)
            return
        self.committed(findings.prefix.head)
        if findings.proved.size > self._base.size and not findings.proved.relied:
            self._base = findings.proved
        if findings.whole:
            self.found_whole(began=began)

    def found_bad(self, index: int) -> None:
        """The entry at `index` is not what was written there, or is gone."""
        self._found_bad_at = max(self._found_bad_at, time.monotonic())
        if self.first_bad is None:
            _log.error("log_is_not_as_written", extra={"firstBadIndex": index})
        if self.first_bad is None or index < self.first_bad:
            self.first_bad = index
            self.news.set()

    def contradicted(self, index: int) -> None:
        """A witness saw something else at `index`, or more than there is: being whole in itself does not undo that."""
        self.found_bad(index)
        self._found_bad_at = float("inf")

    def found_whole(self, *, began: float) -> None:
        """A verification of all that began then (monotonic seconds) succeeded."""
        if began > self._found_bad_at and self.first_bad is not None:
            self.first_bad = None
            self.news.set()
        self._whole_at = max(began, self._whole_at or began)
