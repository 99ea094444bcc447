"""The bus: typed calls, streams, events, records and talks over NATS."""

from shared.bus.bus import Bus
from shared.bus.connecting import connect
from shared.bus.context import CallContext, call_context
from shared.bus.contract import Contract, Endpoint, Kind
from shared.bus.messages import NOTHING, HttpMessage, Message, Moment, Nothing, Secret, read, write
from shared.bus.requester import NoResponder, OutcomeUnknown
from shared.bus.streams import Inlet, Outlet, ReaderGone, ReaderStalled, StreamBroken
from shared.bus.talks import Said, Talk, TalkedTooMuch

__all__ = [
    "NOTHING",
    "Bus",
    "CallContext",
    "Contract",
    "Endpoint",
    "HttpMessage",
    "Inlet",
    "Kind",
    "Message",
    "Moment",
    "NoResponder",
    "Nothing",
    "OutcomeUnknown",
    "Outlet",
    "ReaderGone",
    "ReaderStalled",
    "Said",
    "Secret",
    "StreamBroken",
    "Talk",
    "TalkedTooMuch",
    "call_context",
    "connect",
    "read",
    "write",
]
