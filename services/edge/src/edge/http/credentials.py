"""What a caller shows: an API key in `Authorization`, or the session cookie. Never both count."""

import hashlib
from typing import NamedTuple

from pydantic import SecretStr

from edge.http.request import Request
from edge.http.response import Header
from shared.clock import utc_now
from shared.contracts.auth import Credential, Session
from shared.errors import ErrorCode, PlatformError

COOKIE = "__Host-session"
MAX_CREDENTIAL = 4096


class Unauthenticated(PlatformError):
    """Nobody is known to ask."""

    code = ErrorCode.UNAUTHENTICATED
    reason = "unauthenticated"


class BadCredential(Unauthenticated):
    """Something was shown that cannot be a credential of ours, or two of them that differ."""

    reason = "bad-credential"


class Shown(NamedTuple):
    """A credential as it was shown, not yet believed."""

    is_key: bool
    value: bytes

    def digest(self) -> bytes:
        """The SHA-256 by which it is remembered."""
        return hashlib.sha256((b"key:" if self.is_key else b"session:") + self.value).digest()

    def as_credential(self) -> Credential:
        """The same as the message that auth reads."""
        value = SecretStr(self.value.decode())
        return Credential(api_key=value) if self.is_key else Credential(session_token=value)


def credential_of(request: Request) -> Shown | None:
    """The credential that counts, or None; raises BadCredential for one that cannot be read."""
    key = key_of(request)
    if key is not None:
        return key
    tokens = _session_cookies(request.headers.get(b"cookie", b""))
    if not tokens:
        return None
    if len(tokens) > 1 or len(tokens[0]) > MAX_CREDENTIAL or not tokens[0].isascii():
        raise BadCredential("There must be exactly one session cookie.")
    return Shown(is_key=False, value=tokens[0])


def key_of(request: Request) -> Shown | None:
    """The API key, or None, whatever cookies there are; raises BadCredential for one that cannot be read."""
    authorization = request.headers.get(b"authorization")
    if authorization is None:
        return None
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not 0 < len(key) <= MAX_CREDENTIAL or not key.isascii():
        raise BadCredential("Authorization must be `Bearer` and an API key.")
    return Shown(is_key=True, value=key)


def session_cookie(session: Session) -> Header:
    """The header that hands a session to the browser, out of reach of scripts and other sites."""
    age = max(int((session.expires_at - utc_now()).total_seconds()), 0)
    return _set_cookie(session.token.get_secret_value(), age)


def no_cookie() -> Header:
    """The header that makes the browser forget the session."""
    return _set_cookie("", 0)


def _session_cookies(header: bytes) -> list[bytes]:
    name = COOKIE.encode()
    pairs = (part.strip().partition(b"=") for part in header.split(b";"))
    return [value for key, _, value in pairs if key == name]


def _set_cookie(value: str, age: int) -> Header:
    cookie = f"{COOKIE}={value}; HttpOnly; Secure; SameSite=Strict; Path=/; Max-Age={age}"
    return b"set-cookie", cookie.encode()
