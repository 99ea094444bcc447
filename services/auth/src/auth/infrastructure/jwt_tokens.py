"""Session tokens: JWTs (RFC 7519) that name a session. They open nothing by themselves; the session's row does."""

from datetime import datetime
from typing import Any

import jwt
from jwt.types import Options
from pydantic import SecretStr

from auth.domain.session import Claims, InvalidSession, Session, SessionId
from auth.domain.user import UserId
from shared.ids import is_id

ISSUER = "peanut"
AUDIENCE = "peanut-edge"
ALGORITHM = "HS256"
MAX_LENGTH = 2048
CLOCK_SKEW_S = 5
"""How far apart the clocks of two replicas may be."""

_HEADER = {"alg": ALGORITHM, "typ": "JWT"}
_UNCHECKED: Options = {  # but checked below: strictly by type, and against the time that is given
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class JwtTokens:
    """Signs with `secret`; accepts what `secret` or, while it is being rotated, `previous` has signed."""

    def __init__(self, secret: SecretStr, previous: SecretStr | None = None) -> None:
        secrets = [secret] if previous is None else [secret, previous]
        self._keys = [value.get_secret_value().encode() for value in secrets]

    def issue(self, session: Session) -> str:
        """The token of a session."""
        opened = int(session.created_at.timestamp())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": session.user_id,
            "jti": session.id,
            "iat": opened,
            "nbf": opened,
            "exp": int(session.expires_at.timestamp()),
        }
        return jwt.encode(claims, self._keys[0], algorithm=ALGORITHM)

    def read(self, token: str, *, now: datetime) -> Claims:
        """What a genuine and current token says; raises InvalidSession for any other text (RFC 8725)."""
        claims = self._verified(token)
        if not (
            claims.get("iss") == ISSUER and claims.get("aud") == AUDIENCE and _are_current(claims, now.timestamp())
        ):
            raise InvalidSession()
        return Claims(SessionId(_id(claims, "jti")), UserId(_id(claims, "sub")))

    def _verified(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_LENGTH:
            raise InvalidSession()
        for key in self._keys:
            try:
                whole = jwt.decode_complete(token, key, algorithms=[ALGORITHM], options=_UNCHECKED)
            except (jwt.PyJWTError, ValueError, RecursionError):
                continue
            if whole["header"] == _HEADER:  # no crit, no key of its own, no other type of token
                return dict(whole["payload"])
        raise InvalidSession()


def _are_current(claims: dict[str, Any], now: float) -> bool:
    issued, not_before, expires = (_seconds(claims, name) for name in ("iat", "nbf", "exp"))
    return max(issued, not_before) <= now + CLOCK_SKEW_S and now < expires


def _seconds(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int:  # nor a bool, which is an int to isinstance
        raise InvalidSession()
    return value


def _id(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not is_id(value):
        raise InvalidSession()
    return value
