"""Resolving a credential: the one way in which the edge learns who calls."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from auth.domain.identity import Identity
from auth.domain.key import InvalidApiKey, fingerprint_of, is_well_formed
from auth.domain.session import Claims, InvalidSession


class IdentityStore(Protocol):
    """Where identities are read, each with the version it is of."""

    async def of_session(self, claims: Claims, *, now: datetime) -> Identity | None:
        """Whom the session stands for; None unless it is open and its user enabled."""

    async def of_key(self, fingerprint: str, *, now: datetime) -> Identity | None:
        """Whom the key stands for; None unless it is live and its owner enabled."""


class TokenReader(Protocol):
    """Reads the tokens of sessions."""

    def read(self, token: str, *, now: datetime) -> Claims:
        """What a genuine and current token says; raises InvalidSession for any other text."""


class Identities:
    """Finds out whom credentials stand for."""

    def __init__(self, store: IdentityStore, tokens: TokenReader, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._tokens = tokens
        self._now = now

    async def of_session(self, token: str) -> Identity:
        """Whom a session token stands for; raises InvalidSession without a reason."""
        now = self._now()
        identity = await self._store.of_session(self._tokens.read(token, now=now), now=now)
        if identity is None:
            raise InvalidSession()
        return identity

    async def of_key(self, key: str) -> Identity:
        """Whom an API key stands for; raises InvalidApiKey without a reason."""
        if not is_well_formed(key):
            raise InvalidApiKey()
        identity = await self._store.of_key(fingerprint_of(key), now=self._now())
        if identity is None:
            raise InvalidApiKey()
        return identity
