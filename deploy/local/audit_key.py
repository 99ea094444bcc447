"""`make audit-key`: a new key for the audit log's checkpoints."""

from pathlib import Path

from deploy.local import environment, settings
from deploy.local.key import asked_by_local_operator, done
from shared.bus import NOTHING
from shared.contracts.audit_tree import CHANGE_KEY, ChangedKey


def main(root: Path | None = None) -> int:
    """Prints the public keys before and after. Raises `Problem` when the key was not changed."""
    ours = settings.read(root or Path.cwd(), environment.read(root or Path.cwd()))
    changed: ChangedKey = done(asked_by_local_operator(ours, CHANGE_KEY, NOTHING))
    print(f"Before  {changed.old_key}")
    print(f"Now     {changed.new_key}   (entry {changed.index} of the log hands over to it)")
    return 0
