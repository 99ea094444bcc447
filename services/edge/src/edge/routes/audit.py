"""The audit log."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict

from edge.routes.call import CurrentCall
from edge.routes.replies import json_reply
from shared.bus import NOTHING, Bus, Kind, Message
from shared.contracts import audit, audit_tree

VERIFY_ALL_WITHIN_S = 120.0
"""`verify=full` reads the whole log: about 16 s per 250,000 entries."""

ERASE_WITHIN_S = 120.0
"""By e-mail address the whole log is searched: some 5 s per 1,000,000 entries."""


class AuditQuery(audit.Query):
    """The filters as text in a query string."""

    model_config = ConfigDict(strict=False, extra="forbid")


class ConsistencyQuery(audit_tree.ProveConsistency):
    """Two sizes as text in a query string."""

    model_config = ConfigDict(strict=False, extra="forbid")


class NoQuery(Message):
    """Nothing is asked for in the query string, so that a misspelt wish is not passed over."""

    model_config = ConfigDict(extra="forbid")


def audit_routes(bus: Bus) -> APIRouter:
    """The routes under /audit."""
    router = APIRouter(prefix="/api/v1/audit", tags=["audit"])

    @router.get("", summary="Read the audit log, newest first", response_model=audit.Page)
    async def query(wanted: Annotated[AuditQuery, Query()], call: CurrentCall) -> Response:
        context = call.request.context(Kind.READ, seconds=VERIFY_ALL_WITHIN_S if wanted.verify else None)
        return json_reply(await bus.call(audit.QUERY, wanted, context))

    @router.post(
        "/erasures",
        summary="Erase one person's e-mail address, IP addresses and user agents from the audit log",
        response_model=audit.Erased,
    )
    async def erase(body: audit.Erase, call: CurrentCall) -> Response:
        context = call.request.context(Kind.CHANGE, seconds=ERASE_WITHIN_S)
        return json_reply(await bus.call(audit.ERASE, body, context))

    @router.get(
        "/checkpoint",
        summary="The newest signed checkpoint, as a C2SP note",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def checkpoint(_none: Annotated[NoQuery, Query()], call: CurrentCall) -> Response:
        signed = await bus.call(audit_tree.GET_CHECKPOINT, NOTHING, call.reading)
        return Response(signed.note, media_type="text/plain; charset=utf-8")

    @router.get(
        "/proof/{index}",
        summary="The proof that an entry is in the log of the newest checkpoint",
        response_model=audit_tree.InclusionProof,
    )
    async def inclusion(
        index: Annotated[int, Path(ge=0, lt=2**63)], _none: Annotated[NoQuery, Query()], call: CurrentCall
    ) -> Response:
        wanted = audit_tree.ProveInclusion(index=index)
        return json_reply(await bus.call(audit_tree.PROVE_INCLUSION, wanted, call.reading))

    @router.get(
        "/consistency",
        summary="The proof that the log of one size extends that of another",
        response_model=audit_tree.ConsistencyProof,
    )
    async def consistency(wanted: Annotated[ConsistencyQuery, Query()], call: CurrentCall) -> Response:
        return json_reply(await bus.call(audit_tree.PROVE_CONSISTENCY, wanted, call.reading))

    return router
