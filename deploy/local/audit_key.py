"""`make audit-key`: a new key for the audit log's checkpoints."""

import asyncio
import logging
from pathlib import Path

from deploy.local import environment, settings
from deploy.local.key import asked_by_local_operator
from deploy.local.problem import Problem
from shared.bus import NOTHING
from shared.contracts.audit_tree import CHANGE_KEY, ChangedKey
from shared.errors import PlatformError


def main(root: Path | None = None) -> int:
    """Prints the public keys before and after. Raises `Problem` when the key was not changed."""
    ours = settings.read(root or Path.cwd(), environment.read(root or Path.cwd()))
    logging.disable()  # what the bus says while it tries becomes one line in the end
    try:
        changed: ChangedKey = asyncio.run(asked_by_local_operator(ours, CHANGE_KEY, NOTHING))
    except PlatformError as error:
        raise Problem(f"{error.detail} (`make up` starts everything)") from None
    finally:
        logging.disable(logging.NOTSET)
    print(f"Before  {changed.old_key}")
    print(f"Now     {changed.new_key}   (entry {changed.index} of the log hands over to it)")
    return 0
