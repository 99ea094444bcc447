"""The process's memory: what the C library keeps is given back, and what stays lies in large pages."""

import asyncio
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

LOOK_EVERY_S = 5.0
GROWN_BY_BYTES = 8_000_000
"""By so much the process must have grown since the last time for giving back to be worth its 4 ms."""

_M_ARENA_MAX = -8  # of mallopt(3)
_MADV_COLLAPSE = 25  # of madvise(2), Linux 6.1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")


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
    """Gives back again and again, whenever the process has grown; to be cancelled."""
    if not _is_glibc():
        return
    size = resident_bytes()
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        if resident_bytes() > size + GROWN_BY_BYTES:
            give_back()
            size = resident_bytes()
        else:
            size = min(size, resident_bytes())


def into_large_pages() -> int:
    """Moves the memory in use into pages of 2 MB, as far as it fills some, and returns how much it was, in bytes.

    Python's objects lie all over tens of megabytes, and a virtual machine pays twice for each page that the processor
    does not know. Measured: a tenth less CPU for a dispatch. Takes some 20 ms. Where the system has no such pages or
    does not want them, nothing happens: it is all the same but slower.
    """
    if not _wants_large_pages():
        return 0
    large = int((_LARGE_PAGES / "hpage_pmd_size").read_text())
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return large * sum(
        madvise(start, large, _MADV_COLLAPSE) == 0
        for first, end in _own_memory()
        for start in range(-(-first // large) * large, end - large + 1, large)
    )


def _wants_large_pages() -> bool:
    try:
        return "[never]" not in (_LARGE_PAGES / "enabled").read_text()
    except OSError:
        return False


def _own_memory() -> Iterator[tuple[int, int]]:
    """From where to where it goes: what can be written and belongs to no file, but for the stack."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, rights, _, _, inode, *name = line.split(maxsplit=5)
        if rights == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            first, end = addresses.split("-")
            yield int(first, 16), int(end, 16)


def resident_bytes() -> int:
    """How much memory the process has now (Linux only)."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES


def _is_glibc() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim")
