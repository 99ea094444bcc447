"""Wiring: the only module that knows all parts of the edge."""

import logging

from edge.activity import Activity
from edge.audit_feed import AuditFeed
from edge.exposition import Exposition
from edge.health import HealthCheck
from edge.http.addresses import ClientAddresses
from edge.http.origins import Origins
from edge.http.pipeline import Pipeline
from edge.http.response import policy_headers
from edge.http.server import serving
from edge.identities import Identities
from edge.listeners import Listeners
from edge.live_events import LiveEvents
from edge.metrics import Meter
from edge.refusals import Refusals
from edge.routes.app import behind_pipeline, fastapi_app, routes_of
from edge.routes.audit_export import audit_export_routes
from edge.routes.hot import hot_routes
from edge.settings import EdgeSettings
from shared.audit import open_trail
from shared.bus import CallContext, Nothing, connect
from shared.contracts.health import Health, health_contract
from shared.logging import configure_logging
from shared.process import Stop
from shared.settings import load

_log = logging.getLogger(__name__)


async def main(stop: Stop) -> None:
    """Serves HTTP until the process shall end."""
    settings = load(EdgeSettings)
    instance = settings.instance_of("edge")
    configure_logging("edge", instance, settings.log_level)
    async with (
        connect(
            settings.nats_url,
            service="edge",
            instance=instance,
            nkey_file=settings.nkey_of("edge"),
            on_lost=stop.failed,
            finds_replicas=True,
        ) as bus,
        open_trail(bus, settings.data_dir) as trail,
    ):
        addresses = ClientAddresses(settings.trusted_proxies)
        activity = Activity(bus)
        identities = Identities(bus, activity)
        await identities.start()
        listeners = Listeners(identities)
        events = LiveEvents(bus, listeners)
        await events.start()
        feed = AuditFeed(bus, listeners)
        await feed.start()
        meter = Meter(instance)
        app = fastapi_app(bus, HealthCheck(bus), Exposition(bus, meter))
        hot = {**hot_routes(bus, events), **audit_export_routes(bus, feed)}
        meter.route_of = routes_of(app, [path for _, path in hot])
        refusals = Refusals(trail, route_of=meter.route_of)
        policy = policy_headers(https=settings.own_origin.startswith("https://"))
        pipeline = Pipeline(
            hot=hot,
            rest=behind_pipeline(app),
            identities=identities,
            origins=Origins(hosts=settings.hosts, origins=settings.origins),
            addresses=addresses,
            refusals=refusals,
            meter=meter,
            policy=policy,
        )
        await bus.serve(health_contract("edge").answered_by(_healthy))
        async with (
            refusals.recording(),
            activity.reporting(),
            meter.watching(),
            serving(pipeline, host=settings.host, port=settings.port, is_proxy=addresses.is_proxy, policy=policy),
            listeners.checking(),
        ):
            _log.info("ready", extra={"address": f"http://{settings.host}:{settings.port}"})
            await stop.wait()


async def _healthy(_request: Nothing, _context: CallContext) -> Health:
    return Health(healthy=True)
