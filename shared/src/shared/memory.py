"""Memory that the C library keeps: what was needed for a moment stays with the process, long after it was."""

import asyncio
import ctypes
import gc
import os
import sys
import time
from pathlib import Path

LOOK_EVERY_S = 5.0
GROWN_BY_BYTES = 8_000_000
"""By so much the process must have grown since the last time for giving back to be worth its 4 ms."""
BUSY_SHARE = 0.1
"""Of a core: who uses more of it is at work, and what it gives back it will want again."""

_M_ARENA_MAX = -8  # of mallopt(3)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def keep_in_one_place() -> None:
    """Has all threads allocate from the one arena that can be given back. To be called before they begin."""
    if _is_glibc():
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Returns what is free to the system; takes some 4 ms.

    Never keeping it (M_MMAP_THRESHOLD) was tried: the page faults make each hash of a password a quarter slower.
    """
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


async def keep_giving_back() -> None:
    """Gives back whenever the process has grown, and when it has come to rest after work; to be cancelled."""
    if not _is_glibc():
        return
    size, spent, was_busy = resident_bytes(), time.process_time(), False
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        before, spent = spent, time.process_time()
        is_busy = spent - before > BUSY_SHARE * LOOK_EVERY_S
        comes_to_rest = was_busy and not is_busy
        if comes_to_rest:
            gc.collect()  # 16 ms after a hundred streams flat out, at a time when hardly anybody waits
        if comes_to_rest or resident_bytes() > size + GROWN_BY_BYTES:
            give_back()
            size = resident_bytes()
        else:
            size = min(size, resident_bytes())
        was_busy = is_busy


def resident_bytes() -> int:
    """How much memory the process has now (Linux only)."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES


def _is_glibc() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim")
