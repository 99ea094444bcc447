"""Idempotency keys: a request that is sent again under its key is not done again."""

from dataclasses import replace
from typing import Annotated

from fastapi import Header

from edge.http.request import Request
from shared.bus import CallContext, Kind
from shared.bus.context import KEY_FORM
from shared.errors import FieldError, InvalidFields

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=f"^{KEY_FORM.pattern}$",
        description="A name that the client makes up for this request, and not with `stream`. Sent again with the same"
        " body within 24 hours, the request is not done again: the answer is the first one, with"
        " `Idempotency-Replayed: true`. With another body it is 422 `idempotency-key-reused`. Where the work broke off"
        " it is 409 `outcome-unknown`",
        examples=["3f0c0a8e-order-17"],
    ),
]
"""The header as a parameter of a route."""


def keyed(request: Request, kind: Kind) -> CallContext:
    """The context of an agent's work, with the request's own deadline and key if it has them; raises InvalidFields."""
    context = request.context(kind, seconds=request.timeout_s)
    given = request.headers.get(b"idempotency-key")
    if given is None:
        return context
    key = given.decode("latin-1")
    if not KEY_FORM.fullmatch(key):
        message = "1 to 255 visible ASCII characters, without blanks"
        raise InvalidFields("This is no Idempotency-Key.", errors=(FieldError("Idempotency-Key", message),))
    return replace(context, idempotency_key=key)
