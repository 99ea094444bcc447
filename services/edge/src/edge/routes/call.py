"""What FastAPI's routes share: the request behind them, and refusals in the pipeline's words."""

from typing import Annotated

from fastapi import Depends, Request

from edge.http import request as http
from shared.bus import CallContext, Kind

REQUEST = "peanut.request"
"""Where the pipeline's request stands in the ASGI scope."""


class Call:
    """The pipeline's request, as a route needs it."""

    def __init__(self, request: http.Request) -> None:
        self.request = request

    @property
    def reading(self) -> CallContext:
        """The context of a read."""
        return self.request.context(Kind.READ)

    @property
    def changing(self) -> CallContext:
        """The context of a change."""
        return self.request.context(Kind.CHANGE)


async def _current(request: Request) -> Call:
    return Call(request.scope[REQUEST])


CurrentCall = Annotated[Call, Depends(_current)]
