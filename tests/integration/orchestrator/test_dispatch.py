"""Dispatch, end to end inside the platform: bus, choice, upstream, record."""

import asyncio
import hashlib
import time
from pathlib import Path

import orjson
import pytest

from shared.bus import Bus, call_context
from shared.contracts.audit import Outcome
from shared.contracts.orchestrator import (
    DISPATCH,
    GET_AGENT,
    LIST_AGENTS,
    REGISTER_AGENT,
    REMOVE_AGENT,
    Agent,
    Dispatch,
    GetAgent,
    ListAgents,
    RegisterAgent,
    Turn,
)
from shared.errors import ErrorCode, PlatformError
from shared.principal import PrincipalKind, Role
from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator import upstreams
from tests.integration.orchestrator.cluster import AuditLog, audit_service, by, replica
from tests.integration.orchestrator.upstreams import Reply, Upstream, json_reply, redirect, reply


async def register(edge: Bus, server: Upstream, name: str = "llama", type: str = "openai", **fields: object) -> Agent:
    endpoint = server.address + ("/v1" if type == "openai" else "")
    wish = {"name": name, "type": type, "endpoint": endpoint, "model": "m", **fields}
    return await edge.call(REGISTER_AGENT, RegisterAgent.model_validate(wish), by(Role.OPERATOR))


async def test_a_fresh_start_answers_with_the_built_in_echo(edge: Bus) -> None:
    answer = await edge.call(DISPATCH, Dispatch(message="Hello"), by(Role.OPERATOR))

    assert (answer.message, answer.model, answer.session_id) == ("Hello", "echo", None)
