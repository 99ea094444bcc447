"""An edge on a port of its own whose every route is one handler, and which knows nobody."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from edge.http.addresses import ClientAddresses
from edge.http.origins import Origins
from edge.http.pipeline import Handler, Pipeline
from edge.http.request import Request
from edge.http.response import Response, policy_headers
from edge.http.server import serving
from edge.metrics import Meter
from tests.integration.ports import free_port


@asynccontextmanager
async def edge(handler: Handler, *, public_url: str = "http://localhost:3001") -> AsyncIterator[int]:
    """Its port."""

    class NoRefusals:
        def note(self, _request: Request, _response: Response) -> None: ...

    nobody: Any = None  # nobody shows a credential here
    refusals: Any = NoRefusals()
    policy = policy_headers(https=public_url.startswith("https://"))
    pipeline = Pipeline(
        hot={},
        rest=handler,
        identities=nobody,
        origins=Origins(hosts=frozenset({"localhost"}), origins=frozenset({public_url})),
        addresses=ClientAddresses(()),
        refusals=refusals,
        meter=Meter("edge-1"),
        policy=policy,
    )
    port = free_port()
    async with serving(pipeline, host="127.0.0.1", port=port, is_proxy=lambda _peer: False, policy=policy):
        yield port
