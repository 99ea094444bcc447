"""Wiring of the orchestrator: the only module that knows all of its parts."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from orchestrator.application.agent_keys import AgentKeys
from orchestrator.application.agents import Agents
from orchestrator.application.circuits import SharedCircuits
from orchestrator.application.conversations import Conversations
from orchestrator.application.dispatching import Dispatching
from orchestrator.application.idempotency import Idempotency
from orchestrator.application.leases import Leases
from orchestrator.application.limiting import Limiter
from orchestrator.application.metrics import Metrics
from orchestrator.application.monitor import Monitor
from orchestrator.application.news import News
from orchestrator.application.pool import Pool
from orchestrator.application.recording import Recorder
from orchestrator.application.registry import Registry
from orchestrator.application.upstreams import Upstream
from orchestrator.domain.agent import Agent, AgentType
from orchestrator.domain.endpoint import EndpointPolicy
from orchestrator.infrastructure.bus_agents import BusAgents
from orchestrator.infrastructure.dialects.anthropic import Anthropic
from orchestrator.infrastructure.dialects.ollama import Ollama
from orchestrator.infrastructure.dialects.openai import Custom, OpenAi
from orchestrator.infrastructure.echo import Echo
from orchestrator.infrastructure.endpoint_guard import EndpointGuard
from orchestrator.infrastructure.guarded_http import open_http
from orchestrator.infrastructure.http_upstream import HttpUpstream
from orchestrator.infrastructure.kilo import Kilo
from orchestrator.infrastructure.kv_budgets import KvBudgets
from orchestrator.infrastructure.kv_limits import KvLimits
from orchestrator.infrastructure.sealed_secrets import SealedSecrets
from orchestrator.infrastructure.sql_agents import SqlAgents
from orchestrator.infrastructure.sql_conversations import SqlConversations
from orchestrator.infrastructure.sql_idempotency import SqlIdempotency
from orchestrator.infrastructure.sql_metrics import SqlMetrics
from orchestrator.infrastructure.sql_usage import SqlUsage
from orchestrator.interface.agent_keys import agent_key_endpoints
from orchestrator.interface.agents import agent_endpoints
from orchestrator.interface.conversations import conversation_endpoints
from orchestrator.interface.dispatch import dispatch_endpoints
from orchestrator.interface.metrics import metric_endpoints
from orchestrator.interface.openai import openai_endpoints
from orchestrator.settings import OrchestratorSettings
from shared.audit import open_trail
from shared.bus import CallContext, Nothing, connect
from shared.clean_up import cleaning_up
from shared.clock import rfc3339_now, utc_now
from shared.contracts.events import AgentChange
from shared.contracts.health import Health, health_contract
from shared.contracts.orchestrator import AGENTS, CIRCUITS, LIMITS
from shared.database import open_database
from shared.ids import new_id
from shared.logging import configure_logging
from shared.paging import Cursors
from shared.process import Stop
from shared.settings import load
from shared.versions import VersionPublisher, VersionWatch

SERVICE = "orchestrator"

_log = logging.getLogger(__name__)


async def main(stop: Stop) -> None:
    """Serves until `stop`."""
    settings = load(OrchestratorSettings)
    configure_logging(SERVICE, settings.instance_of(SERVICE), settings.log_level)
    async with serving(settings, stop):
        _log.info("ready")
        await stop.wait()


@asynccontextmanager
async def serving(settings: OrchestratorSettings, stop: Stop) -> AsyncIterator[None]:
    """Answers calls while the block runs."""
    secrets = SealedSecrets(settings.key())
    guard = EndpointGuard(EndpointPolicy(settings.allowed_hosts(), settings.own_ports()))
    async with open_database(settings.database_of(SERVICE)) as database, open_http(guard) as http:
        store = SqlAgents(database)
        conversation_store = SqlConversations(database, settings.key())
        turns = Leases(conversation_store, now=utc_now)
        claims = SqlIdempotency(database, settings.key())
        idempotency = Idempotency(claims, now=utc_now, new_id=new_id)
        replica = new_id().replace("-", "")
        usage = SqlUsage(database, replica=replica)
        sums = SqlMetrics(database, replica=replica)
        recorder = Recorder(sums)
        upstreams: dict[AgentType, Upstream] = {
            "ollama": HttpUpstream(http, secrets, Ollama()),
            "openai": HttpUpstream(http, secrets, OpenAi()),
            "anthropic": HttpUpstream(http, secrets, Anthropic()),
            "custom": HttpUpstream(http, secrets, Custom()),
            "kilo": Kilo(),
            "echo": Echo(),
        }
        monitor = Monitor(upstreams, now=utc_now)

        async def health(_request: Nothing, _context: CallContext) -> Health:
            await store.number()
            return Health(healthy=True)

        async with (
            monitor.watching(),
            usage.saving(),  # until after the last call has ended
            recorder.saving(),
            idempotency.keeping_claims(),  # the same
            turns.renewing(),  # the same
            cleaning_up(usage, sums, conversation_store, claims, now=utc_now),
            connect(
                settings.nats_url,
                service=SERVICE,
                instance=settings.instance_of(SERVICE),
                nkey_file=settings.nkey_of(SERVICE),
                on_lost=stop.failed,
            ) as bus,
            open_trail(bus, settings.data_dir) as trail,
        ):
            upstreams["bus"] = BusAgents(bus)
            versions = VersionPublisher(bus, AGENTS, store.number)
            watch = VersionWatch(bus, AGENTS, ask=store.number, forget=lambda _: None)
            registry = Registry(store, watch)
            pool = Pool(registry, monitor)

            news = News(bus.publish, now=utc_now)
            monitor.on_status = news.health_changed

            async def announce(number: int, agent: Agent, change: AgentChange) -> None:
                registry.wrote(number)
                await versions.changed(number, agent.id)
                news.agent_changed(agent, change)

            agents = Agents(
                store=store,
                pool=pool,
                monitor=monitor,
                trail=trail,
                endpoints=guard,
                sealer=secrets,
                cursors=Cursors(settings.key(), "agents"),
                announce=announce,
                now=utc_now,
                new_id=new_id,
            )
            conversations = Conversations(
                conversation_store,
                turns,
                trail,
                Cursors(settings.key(), "conversations"),
                now=utc_now,
                new_id=new_id,
            )
            records = await bus.records(LIMITS)
            budgets = KvBudgets(records, usage, now=utc_now)
            bus.on_reconnect(budgets.tell_again)
            limiter = Limiter(KvLimits(records, now=utc_now), budgets, per_minute=settings.dispatch_per_minute)
            dispatching = Dispatching(pool, upstreams, trail, limiter, recorder)
            circuits = SharedCircuits(monitor, partial(bus.publish, CIRCUITS), instance=bus.instance)
            await bus.subscribe(CIRCUITS, circuits.hear)
            await watch.start()
            async with versions.publishing(), circuits.telling(), news.telling():
                await pool.current()
                await bus.serve(
                    *agent_endpoints(agents),
                    *agent_key_endpoints(AgentKeys(pool, trail)),
                    *dispatch_endpoints(dispatching, conversations, idempotency, now=rfc3339_now),
                    *openai_endpoints(dispatching, pool, idempotency),
                    *conversation_endpoints(conversations),
                    *metric_endpoints(Metrics(sums, pool, monitor, now=utc_now)),
                    health_contract(SERVICE).answered_by(health),
                )
                yield
