"""The witness's directory: its key and its memory, each in a file that only its owner may read."""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.durable import write_durably
from shared.tlog.notes import Cosigner, KeyRefused, NoteRefused, Verifier
from witness.application import DirectoryUnusable, MemoryNotWritten
from witness.domain import Memory, recalled

_NOTHING = "nothing seen yet\n"
_MAX_BYTES = 65_536


class WitnessDirectory:
    """`witness.key`, `witness.pub` and `memory`: the log's key in a line, then the last checkpoint, cosigned."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._memory = path / "memory"
        self._key = path / "witness.key"

    def prepare(self, name: str) -> None:
        """Makes the directory, a new key and the memory of nothing; what is there stays as it is.

        A key without a memory is left alone: a witness that has forgotten everything must not start as a new one.
        """
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._key.exists():
            if not self._memory.exists():
                write_durably(self._memory, _NOTHING.encode())
            write_durably(self._key, f"{Cosigner.generate(name).text}\n".encode())
        write_durably(self._path / "witness.pub", f"{self.signer().verifier.text}\n".encode())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes out, as two would not know what the other says; raises DirectoryUnusable."""
        try:
            folder = os.open(self._path, os.O_RDONLY)
        except OSError as error:
            raise DirectoryUnusable(f"{self._path} cannot be opened: {error.strerror}") from error
        try:
            self._lock(folder)
            yield
        finally:
            os.close(folder)

    def signer(self) -> Cosigner:
        """The witness's key; raises DirectoryUnusable."""
        try:
            return Cosigner.parse(self._read(self._key).removesuffix("\n"))
        except KeyRefused as error:
            raise DirectoryUnusable(f"{self._key} is damaged: {error}") from None

    def load(self, origin: str) -> Memory | None:
        """What is remembered of the log; None when nothing was seen yet. Raises DirectoryUnusable."""
        text = self._read(self._memory)
        if text == _NOTHING:
            return None
        log_key, _, note = text.partition("\n")
        try:
            memory = recalled(note, log=Verifier.parse(log_key), witness=self.signer().verifier)
        except (KeyRefused, NoteRefused) as error:
            raise DirectoryUnusable(f"{self._memory} is damaged: {error}") from error
        if memory.checkpoint.origin != origin:
            raise DirectoryUnusable(
                f"{self._path} remembers {memory.checkpoint.origin}: "
                f"give the witness of {origin} a directory of its own (WITNESS_DIR)"
            )
        return memory

    async def save(self, memory: Memory) -> None:
        """Returns once it would survive a power failure. Raises MemoryNotWritten; the memory before may stay."""
        try:
            await asyncio.to_thread(write_durably, self._memory, f"{memory.log.text}\n{memory.note}".encode())
        except OSError as error:
            raise MemoryNotWritten(f"The witness cannot write its memory: {error.strerror}.") from error

    def _lock(self, folder: int) -> None:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryUnusable(f"another witness is at work in {self._path}") from None

    def _read(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return file.read(_MAX_BYTES).decode()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise DirectoryUnusable(f"{path} cannot be read: {why}") from error
