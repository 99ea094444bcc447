"""How the platform is: health and readiness."""

from fastapi import APIRouter, Response, status

from edge.health import HealthCheck, PlatformHealth, Status
from edge.routes.call import CurrentCall
from edge.routes.replies import json_reply
from shared.bus import Message


class Summary(Message):
    """All that anonymous callers see."""

    status: Status


class Readiness(Message):
    """Whether work may be sent here."""

    ready: bool


def operation_routes(health: HealthCheck) -> APIRouter:
    """`/health` for people and monitors, `/ready` for load balancers and start scripts."""
    router = APIRouter(tags=["operations"])

    @router.get("/health", summary="How every service is, asked now", response_model=PlatformHealth | Summary)
    async def measure(call: CurrentCall) -> Response:
        if call.request.caller.principal is None:
            return _with_status(Summary(status=await health.status()))
        return _with_status(await health.report())

    @router.get("/ready", summary="Whether every service that work needs answers", response_model=Readiness)
    async def ready() -> Response:
        is_ready = await health.is_ready()
        return json_reply(Readiness(ready=is_ready), status_code=200 if is_ready else 503)

    return router


def _with_status(report: Summary | PlatformHealth) -> Response:
    code = status.HTTP_503_SERVICE_UNAVAILABLE if report.status == "unhealthy" else status.HTTP_200_OK
    return json_reply(report, status_code=code)
