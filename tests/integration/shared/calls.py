"""Contracts for trying the bus itself, on subjects that the permissions know."""

from shared.bus import CallContext, Contract, Kind, Message, call_context
from shared.principal import Caller, Origin, Principal, PrincipalKind, Role


class Text(Message):
    text: str = ""


READ = Contract("auth.identity.resolve", Text, Text, Kind.READ)
CHANGE = Contract("auth.session.open", Text, Text, Kind.CHANGE)
DISPATCH = Contract("orchestrator.dispatch.run", Text, Text, Kind.DISPATCH)
STREAM = Contract("orchestrator.dispatch.stream", Text, Text, Kind.STREAM)
APPEND = Contract("audit.entry.append.orchestrator", Text, Text, Kind.CHANGE)
ITSELF = Contract("edge.health.check", Text, Text, Kind.READ)

CALLER = Caller(
    principal=Principal(
        kind=PrincipalKind.SESSION, user_id="u", email="zoë@peanut.local", role=Role.VIEWER, credential_id="c"
    ),
    origin=Origin(ip_address="2001:db8::1", user_agent="Mozilla/5.0 (ünïcödé; 🥜)"),
)


def within(seconds: float) -> CallContext:
    return call_context(seconds=seconds, caller=CALLER)


async def echo(request: Text, _context: CallContext) -> Text:
    return request
