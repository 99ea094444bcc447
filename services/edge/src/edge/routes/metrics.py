"""Metrics: of one agent for people, of everything for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import ConfigDict, Field

from edge.exposition import Exposition
from edge.routes.call import CurrentCall
from edge.routes.replies import json_reply
from shared.bus import Bus, Message
from shared.contracts.metrics import READ_METRICS, AgentMetrics, ReadMetrics, Window


class MetricsQuery(Message):
    """How far to look back, as text in a query string."""

    model_config = ConfigDict(strict=False, extra="forbid")

    window: Window = Field(default="1h", description="How far to look back")


def metric_routes(bus: Bus, exposition: Exposition) -> APIRouter:
    """`/agents/:id/metrics` and `/metrics`."""
    router = APIRouter()

    @router.get(
        "/api/v1/agents/{agent_id}/metrics",
        tags=["agents"],
        summary="How an agent did: counts, latencies and tokens",
        response_model=AgentMetrics,
    )
    async def read(agent_id: str, wanted: Annotated[MetricsQuery, Query()], call: CurrentCall) -> Response:
        return json_reply(await bus.call(READ_METRICS, ReadMetrics(id=agent_id, window=wanted.window), call.reading))

    @router.get(
        "/metrics",
        tags=["operations"],
        summary="Everything that is counted, for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def expose(call: CurrentCall) -> Response:
        return Response(await exposition.text(call.reading), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router
