"""Who a credential stands for: asked once from auth, then told from memory for as long as nothing has changed."""

import asyncio
from collections import OrderedDict, defaultdict

from edge.activity import Activity, Used
from edge.http.credentials import Shown
from shared.bus import Bus, call_context, write
from shared.clock import to_unix_ms, unix_ms
from shared.contracts.auth import IDENTITIES, RESOLVE, Identity
from shared.principal import Caller, Origin, PrincipalKind
from shared.versions import VersionWatch, asking

MAX_REMEMBERED = 20_000
MAX_ORIGINS = 16
RESOLVE_WITHIN_S = 5.0


class Known:
    """An identity with what is made of it for each request: callers by origin and the body of `GET /auth/me`."""

    __slots__ = ("_callers", "expires_at_ms", "identity", "me", "used")

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        principal = identity.principal
        self.used = Used(principal.kind is PrincipalKind.KEY, principal.credential_id)
        self.expires_at_ms = to_unix_ms(identity.expires_at) if identity.expires_at else None
        self.me = write(identity.user)
        self._callers: dict[tuple[str, str], Caller] = {}

    def caller_from(self, ip_address: str, user_agent: str) -> Caller:
        """This identity, asking from there; the same object for the same place, so that it is encoded once."""
        caller = self._callers.get((ip_address, user_agent))
        if caller is None:
            if len(self._callers) >= MAX_ORIGINS:
                self._callers.clear()
            origin = Origin(ip_address=ip_address, user_agent=user_agent)
            caller = Caller(principal=self.identity.principal, origin=origin)
            self._callers[ip_address, user_agent] = caller
        return caller


class Identities:
    """Remembers identities by the SHA-256 of their credentials, never the credentials themselves."""

    def __init__(self, bus: Bus, activity: Activity) -> None:
        self._bus = bus
        self._activity = activity
        self._remembered: OrderedDict[bytes, Known] = OrderedDict()
        self._of_user: dict[str, set[bytes]] = defaultdict(set)
        self._asking: dict[bytes, asyncio.Task[Known]] = {}
        self._watch = VersionWatch(bus, IDENTITIES, ask=asking(bus, IDENTITIES), forget=self._forget)

    async def start(self) -> None:
        """Hears from now on what changes."""
        await self._watch.start()

    async def of(self, shown: Shown) -> Known:
        """The identity behind what was shown, which is thereby used.

        Raises what auth refuses with, and Unavailable when auth cannot say whether what is remembered still holds.
        """
        known = await self.still(shown)
        self._activity.note(known.used, unix_ms())
        return known

    async def still(self, shown: Shown) -> Known:
        """The same, without being a use: whether somebody who has come before may stay."""
        digest = shown.digest()
        await self._watch.be_current()
        known = self._remembered.get(digest)
        if known is None or (known.expires_at_ms is not None and known.expires_at_ms <= unix_ms()):
            known = await self._asked_once(digest, shown)
        return known

    async def _asked_once(self, digest: bytes, shown: Shown) -> Known:
        task = self._asking.get(digest)
        if task is None:
            task = self._asking[digest] = asyncio.create_task(self._ask(digest, shown))
            task.add_done_callback(lambda done: self._asked(digest, done))
        try:
            return await asyncio.shield(task)
        finally:
            del task  # its failure holds this frame, and each key that is refused would wait for the collector

    async def _ask(self, digest: bytes, shown: Shown) -> Known:
        identity = await self._bus.call(RESOLVE, shown.as_credential(), call_context(seconds=RESOLVE_WITHIN_S))
        known = Known(identity)
        if self._watch.knows(identity.version):
            self._remember(digest, known)
        return known

    def _asked(self, digest: bytes, task: asyncio.Task[Known]) -> None:
        if self._asking.get(digest) is task:
            del self._asking[digest]
        if not task.cancelled():
            task.exception()  # each waiter has been told

    def _remember(self, digest: bytes, known: Known) -> None:
        self._drop(digest)
        self._remembered[digest] = known
        self._of_user[known.identity.principal.user_id].add(digest)
        if len(self._remembered) > MAX_REMEMBERED:
            self._drop(next(iter(self._remembered)))

    def _drop(self, digest: bytes) -> None:
        known = self._remembered.pop(digest, None)
        if known is not None:
            user_id = known.identity.principal.user_id
            self._of_user[user_id].discard(digest)
            if not self._of_user[user_id]:
                del self._of_user[user_id]

    def _forget(self, changed: list[str] | None) -> None:
        self._asking.clear()  # whoever comes from now on must not hear what was so before
        if changed is None:
            self._remembered.clear()
            self._of_user.clear()
            return
        for user_id in changed:
            for digest in tuple(self._of_user.get(user_id, ())):
                self._drop(digest)
