"""Metrics: of one agent for people, of everything for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from edge.exposition import Exposition
from edge.routes.call import CurrentCall
from edge.routes.replies import json_reply
from shared.bus import Bus
from shared.contracts.metrics import READ_METRICS, AgentMetrics, ReadMetrics, Window


def metric_routes(bus: Bus, exposition: Exposition) -> APIRouter:
    """`/agents/:id/metrics` and `/metrics`."""
    router = APIRouter()

    @router.get(
        "/api/v1/agents/{agent_id}/metrics",
        tags=["agents"],
        summary="How an agent did: counts, latencies and tokens",
        response_model=AgentMetrics,
    )
    async def read(
        agent_id: str,
        call: CurrentCall,
        window: Annotated[Window, Query(description="How far to look back")] = "1h",
    ) -> Response:
        return json_reply(await bus.call(READ_METRICS, ReadMetrics(id=agent_id, window=window), call.reading))

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
