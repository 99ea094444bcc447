"""scrypt in threads of its own: a log-in never stalls the event loop, and a flood of them is refused early."""

import asyncio
import hmac
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from auth.application.passwords import TooManyPasswords
from auth.domain.password import HASH_BYTES, SALT_BYTES, PasswordHash, ScryptCost
from shared import memory

WORKERS = max(1, min(2, (os.cpu_count() or 1) - 1))
"""At most two, and never all cores: who is known already would wait for those who sign in."""
MAX_WAITING = 19
NICENESS = 10

IDLE_S = 5.0
"""After so long without a log-in the memory of the last ones is given back: 16 MB for each at the same time."""

Derive = Callable[[bytes, bytes, ScryptCost], bytes]
P = ParamSpec("P")
R = TypeVar("R")


def scrypt(password: bytes, salt: bytes, cost: ScryptCost, length: int = HASH_BYTES) -> bytes:
    """The key that scrypt (RFC 7914) derives."""
    return Scrypt(salt=salt, length=length, n=cost.n, r=cost.r, p=cost.p).derive(password)


class ScryptPasswords:
    """Hashes passwords at `cost`; at most WORKERS at a time, with at most 19 callers waiting.

    Every check costs as much as that of the dearest hash there is, or its time would tell who has an account: that of a
    hash from before `cost` was raised, and that of nobody's hash from when it was higher. The dearest is that of the
    hashes shown to `notice`; it is kept until the process ends. What remains: the first check of a hash that another
    replica has made at a cost that was never noticed here takes longer than the others, and from then on they all do.
    """

    def __init__(self, executor: ThreadPoolExecutor, cost: ScryptCost, derive: Derive = scrypt) -> None:
        self._executor = executor
        self._cost = cost
        self._dearest = cost
        self._derive = derive
        self._places = WORKERS + MAX_WAITING
        self._giving_back: asyncio.TimerHandle | None = None
        # Of nobody: whatever is tried is looked at like a real one and is wrong.
        self._nobodys = str(PasswordHash(cost, os.urandom(SALT_BYTES), os.urandom(HASH_BYTES)))

    @property
    def is_idle(self) -> bool:
        """Whether nobody has a place."""
        return self._places == WORKERS + MAX_WAITING

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """A place in the queue for the length of the block; raises TooManyPasswords when there is none."""
        if self._places == 0:
            raise TooManyPasswords()
        self._places -= 1
        if self._giving_back is not None:
            self._giving_back.cancel()
        try:
            yield Place(self)
        finally:
            self._places += 1
            if self.is_idle:
                self._giving_back = asyncio.get_running_loop().call_later(IDLE_S, memory.give_back)

    def hash(self, password: str) -> str:
        """A new hash; takes about 35 ms of the calling thread."""
        salt = os.urandom(SALT_BYTES)
        return str(PasswordHash(self._cost, salt, self._derive(password.encode(), salt, self._cost)))

    def notice(self, stored: str) -> None:
        """Has every check cost at least as much as that of this hash. To be called in the loop's thread."""
        self._dearest = max(self._dearest, PasswordHash.parse(stored).cost, key=lambda cost: cost.work)

    def is_right(self, password: str, stored: str | None) -> bool:
        """Whether `stored` was made of this password; None is nobody's. Takes the time of the dearest hash for any."""
        known = PasswordHash.parse(self._nobodys if stored is None else stored)
        given = password.encode()
        is_right = hmac.compare_digest(self._derive(given, known.salt, known.cost), known.digest)
        missing = known.cost.up_to(self._dearest)
        if missing is not None:
            self._derive(given, known.salt, missing)
        return is_right

    def is_outdated(self, stored: str) -> bool:
        """Whether it was made at another cost than today's."""
        return PasswordHash.parse(stored).cost != self._cost

    async def _in_thread(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: job(*args, **kwargs))


class Place:
    """A caller's turn with the threads."""

    def __init__(self, passwords: ScryptPasswords) -> None:
        self._passwords = passwords

    async def hash(self, password: str) -> str:
        """A new hash of the password."""
        return await self._passwords._in_thread(self._passwords.hash, password)

    async def is_right(self, password: str, stored: str | None) -> bool:
        """Whether `stored` was made of this password; None is nobody's."""
        if stored is not None:
            self._passwords.notice(stored)
        return await self._passwords._in_thread(self._passwords.is_right, password, stored)

    def is_outdated(self, stored: str) -> bool:
        """Whether it should be hashed anew."""
        return self._passwords.is_outdated(stored)


@contextmanager
def open_passwords(cost: ScryptCost, derive: Derive = scrypt) -> Iterator[ScryptPasswords]:
    """Threads for hashing, ended at the end of the block."""
    memory.keep_in_one_place()
    executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="scrypt", initializer=_step_back)
    try:
        yield ScryptPasswords(executor, cost, derive)
    finally:
        executor.shutdown(cancel_futures=True)


def _step_back() -> None:
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
