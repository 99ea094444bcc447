"""Changing the key that signs checkpoints: an entry, signed by the old one, hands over to the new one."""

import asyncio
from dataclasses import dataclass

from audit.application.appends import Appends
from audit.application.own_entries import own_entry
from audit.application.ports import KeyRing
from audit.application.tree import Tree
from shared.bus import CallContext
from shared.contracts.audit import Action, Outcome
from shared.principal import Role
from shared.tlog.key_changes import key_change
from shared.tlog.notes import Verifier


@dataclass(frozen=True, slots=True)
class KeyChange:
    """Who signed before, who signs now, and the entry that says so."""

    old: Verifier
    new: Verifier
    index: int


class KeyChanges:
    """One at a time, over all replicas: the entry counts, and whoever meets it in the log signs with the new key."""

    def __init__(self, tree: Tree, keys: KeyRing, appends: Appends) -> None:
        self._tree = tree
        self._keys = keys
        self._appends = appends
        self._turn = asyncio.Lock()

    async def change(self, context: CallContext) -> KeyChange:
        """Raises Forbidden below admin, LogUnavailable or KeysUnusable; the old key signs on then."""
        context.principal.must_be(Role.ADMIN)
        async with self._turn:
            with self._keys.changing():
                await self._cover()  # an earlier change may still wait to be met
                old = self._keys.current()
                new = self._keys.prepare_next().verifier
                entry = own_entry(
                    context,
                    Action.AUDIT_KEY_CHANGED,
                    Outcome.SUCCESS,
                    resource_type="key",
                    resource_id=new.text,
                    details={"note": key_change(old, new)},
                )
                [place] = await self._appends.append([entry])
                await self._cover()
        return KeyChange(old.verifier, new, place.index)

    async def _cover(self) -> None:
        """Has the tree met all that is in the log, also what a replica wrote that is no more."""
        while await self._tree.grow():
            pass
