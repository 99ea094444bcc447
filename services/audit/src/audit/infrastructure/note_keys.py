"""The keys that sign checkpoints, in files that only their owner may read: `note.key`, `note.pub` and who was before.

The log itself says which key signs: one is handed over to by an entry, and becomes `note.key` when that is met.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audit.application.ports import KeyChanging, KeysUnusable
from shared.durable import write_durably
from shared.tlog.notes import KeyRefused, Signer, Verifier


class NoteKeys:
    """See KeyRing. Several replicas may share the folder."""

    def __init__(self, folder: Path, origin: str) -> None:
        self._folder = folder
        self._origin = origin
        self._key, self._next = folder / "note.key", folder / "note.next"
        self._public, self._retired = folder / "note.pub", folder / "retired.pub"

    def prepare(self) -> None:
        """Makes the folder and a first key; what is there stays as it is. Raises KeysUnusable."""
        with _translated(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                if not self._key.exists():
                    write_durably(self._key, _line(Signer.generate(self._origin).text))
                write_durably(self._public, _line(self.current().verifier.text))

    def current(self) -> Signer:
        """See KeyRing."""
        return self._signer(self._key)

    def retired(self) -> list[Verifier]:
        """See KeyRing."""
        with _translated(self._retired):
            lines = self._retired.read_text(encoding="utf-8").splitlines() if self._retired.exists() else []
            return [Verifier.parse(line) for line in lines]

    @contextmanager
    def changing(self) -> Iterator[None]:
        """See KeyRing."""
        with _translated(self._folder), open(self._folder / "change.lock", "w", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise KeyChanging("The key of the audit log is being changed already.") from None
            yield

    def prepare_next(self) -> Signer:
        """See KeyRing."""
        signer = Signer.generate(self._origin)
        with _translated(self._next), self._alone():
            write_durably(self._next, _line(signer.text))
        return signer

    def promote(self, next: Verifier) -> Signer:
        """See KeyRing."""
        with _translated(self._next), self._alone():
            current = self.current()
            if current.verifier == next:  # another replica was faster
                return current
            signer = self._signer(self._next) if self._next.exists() else current
            if signer.verifier != next:
                raise KeysUnusable(f"The log was handed over to a key that is not in {self._folder}: {next.text}")
            retired = [verifier.text for verifier in self.retired() if verifier != current.verifier]
            write_durably(self._retired, "".join(f"{text}\n" for text in [*retired, current.verifier.text]).encode())
            write_durably(self._public, _line(signer.verifier.text))
            write_durably(self._key, _line(signer.text))
            self._next.unlink()
            return signer

    def _signer(self, path: Path) -> Signer:
        with _translated(path):
            signer = Signer.parse(path.read_text(encoding="utf-8").removesuffix("\n"))
        if signer.name != self._origin:
            raise KeysUnusable(f"{path} is the key of {signer.name}, not of {self._origin} (AUDIT_ORIGIN).")
        return signer

    @contextmanager
    def _alone(self) -> Iterator[None]:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeysUnusable(f"{error.filename or path} cannot be used: {error.strerror}.") from error
    except (KeyRefused, UnicodeDecodeError):
        raise KeysUnusable(f"{path} is damaged.") from None  # what it holds may be a secret


def _line(text: str) -> bytes:
    return f"{text}\n".encode()
