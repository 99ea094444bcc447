"""Changing the key that signs checkpoints: an entry, signed by the old one, hands over to the new one."""

import asyncio
from dataclasses import dataclass

from audit.application.appends import Appends
from audit.application.ports import KeyRing
from audit.application.tree import Tree
from audit.domain.entry import Draft
from shared.bus import CallContext
from shared.clock import rfc3339_now
from shared.contracts.audit import Action, Outcome, Phase
from shared.principal import Role
from shared.tlog.key_changes import key_change
from shared.tlog.notes import Verifier

SOURCE = "audit"


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
        caller = context.principal
        caller.must_be(Role.ADMIN)
        async with self._turn:
            with self._keys.changing():
                await self._cover()  # an earlier change may still wait to be met
                old = self._keys.current()
                new = self._keys.prepare_next().verifier
                origin = context.caller.origin
                [place] = await self._appends.append(
                    [
                        Draft(
                            source=SOURCE,
                            id=context.event_id,
                            request_id=context.request_id,
                            phase=Phase.OUTCOME,
                            action=Action.AUDIT_KEY_CHANGED,
                            outcome=Outcome.SUCCESS,
                            user_id=caller.user_id,
                            personal={
                                "userEmail": caller.email,
                                "ipAddress": origin.ip_address,
                                "userAgent": origin.user_agent,
                            },
                            resource_type="key",
                            resource_id=new.text,
                            details={"note": key_change(old, new)},
                            timestamp=rfc3339_now(),
                        )
                    ]
                )
                await self._cover()
        return KeyChange(old.verifier, new, place.index)

    async def _cover(self) -> None:
        """Has the tree met all that is in the log, also what a replica wrote that is no more."""
        while await self._tree.grow():
            pass
