"""Orchestrator replicas in this process, callers, and an audit service that stands in for the real one."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from orchestrator.main import serving
from orchestrator.settings import OrchestratorSettings
from shared.bus import CallContext, call_context
from shared.contracts.audit import Append, NewEntry, Phase, Receipt, Receipts, append_contract
from shared.errors import Unavailable
from shared.principal import Caller, Origin, Principal, PrincipalKind, Role
from shared.process import Stop
from tests.integration.bus import Nats, bus_as

KEY = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210"


@dataclass
class AuditLog:
    """What was appended. Entries count once per (id, phase), as in the real one."""

    entries: list[NewEntry] = field(default_factory=list)
    refuses: bool = False

    async def append(self, request: Append, _context: CallContext) -> Receipts:
        if self.refuses:
            raise Unavailable("The log cannot be written.")
        known = {(entry.id, entry.phase) for entry in self.entries}
        self.entries += [entry for entry in request.entries if (entry.id, entry.phase) not in known]
        return Receipts(
            receipts=[
                Receipt(index=index, fingerprint=hashlib.sha256(entry.id.encode()).hexdigest())
                for index, entry in enumerate(request.entries)
            ]
        )

    def outcomes(self, action: str) -> list[NewEntry]:
        return [entry for entry in self.entries if entry.action == action and entry.phase is Phase.OUTCOME]


@asynccontextmanager
async def audit_service(nats: Nats) -> AsyncIterator[AuditLog]:
    """The append contract, answered from memory."""
    log = AuditLog()
    async with bus_as(nats, "audit") as bus:
        await bus.serve(append_contract("orchestrator").answered_by(log.append))
        yield log


@asynccontextmanager
async def replica(
    nats: Nats,
    data_dir: Path,
    number: int = 1,
    *,
    allowed: str = "",
    key: str = KEY,
    per_minute: int = 1_000_000_000,
) -> AsyncIterator[None]:
    """One orchestrator that serves; its database has to be prepared."""
    settings = OrchestratorSettings(
        data_dir=data_dir,
        nats_url=nats.url,
        nats_nkey_file=nats.nkey("orchestrator"),
        instance=f"orchestrator-{number}",
        agent_encryption_key=SecretStr(key),
        agent_allowed_hosts=allowed,
        dispatch_per_minute=per_minute,
    )
    async with serving(settings, Stop()):
        yield


def caller(role: Role = Role.ADMIN, kind: PrincipalKind = PrincipalKind.SESSION) -> Caller:
    return Caller(
        principal=Principal(kind=kind, user_id="u-1", email="ada@example.org", role=role, credential_id="c-1"),
        origin=Origin(ip_address="192.0.2.7", user_agent="test"),
    )


def by(role: Role = Role.ADMIN, *, kind: PrincipalKind = PrincipalKind.SESSION, seconds: float = 15) -> CallContext:
    """A call by somebody of this role."""
    return call_context(seconds=seconds, caller=caller(role, kind))
