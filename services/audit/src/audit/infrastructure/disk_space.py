"""The disk that a folder is on."""

import os
from pathlib import Path


def used_share(folder: Path) -> float:
    """Which part of the disk is taken, from 0 to 1, as far as this user may fill it; raises OSError."""
    disk = os.statvfs(folder)
    taken = disk.f_blocks - disk.f_bfree
    return taken / max(taken + disk.f_bavail, 1)
