"""The bus: typed calls, events and versions over NATS."""

from shared.bus.bus import Bus
from shared.bus.connecting import connect
from shared.bus.context import CallContext, call_context
from shared.bus.contract import Contract, Endpoint, Kind
from shared.bus.messages import NOTHING, HttpMessage, Message, Moment, Nothing, Secret, read, write

__all__ = [
    "NOTHING",
    "Bus",
    "CallContext",
    "Contract",
    "Endpoint",
    "HttpMessage",
    "Kind",
    "Message",
    "Moment",
    "Nothing",
    "Secret",
    "call_context",
    "connect",
    "read",
    "write",
]
