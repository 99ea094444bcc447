"""The start, step by step: the bus, the data of each service, the services, readiness."""

import asyncio
import sys
import time
from collections.abc import Iterator

from deploy.local import catalogue, environment, nats_server, network, records
from deploy.local.catalogue import Service
from deploy.local.cluster import Cluster
from deploy.local.keeper import Log
from deploy.local.preparing import prepare
from deploy.local.problem import Problem
from deploy.local.processes import Program
from deploy.local.settings import Settings
from deploy.local.terminal import Terminal

_PATIENCE = 60.0  # seconds until everything has to be ready
_NEEDED = {catalogue.BUS, *(service.name for service in catalogue.SERVICES if service.is_needed)}


class Startup:
    """One start of everything."""

    def __init__(self, settings: Settings, cluster: Cluster, *, terminal: Terminal, log: Log) -> None:
        self._password: str | None = None
        self._settings = settings
        self._cluster = cluster
        self._terminal = terminal
        self._log = log
        self._began = time.monotonic()
        self._bus_listens = asyncio.Event()

    async def run(self) -> None:
        """Returns when all is ready. Raises `Problem`.

        Each service starts as soon as its own data is ready; nobody waits for the slowest.
        """
        check_ports(self._settings)
        try:
            async with asyncio.TaskGroup() as steps:
                steps.create_task(self._start_bus())
                for service in catalogue.SERVICES:
                    steps.create_task(self._start(service))
        except ExceptionGroup as failures:  # not `except*`: what is raised there comes in a group before Python 3.11.4
            problem = next((each for each in failures.exceptions if isinstance(each, Problem)), None)
            if problem is None:
                raise
            raise problem from None
        await self._all_ready()
        await self._drop_agent_keys()

    def take_password(self) -> str | None:
        """The admin's password when this start has generated one. Given once: it is shown once."""
        password, self._password = self._password, None
        return password

    async def _start_bus(self) -> None:
        program = await asyncio.to_thread(nats_server.program, self._settings)
        self._cluster.keep(program)
        await network.listening(nats_server.HOST, self._settings.nats_port)
        self._bus_listens.set()
        self._done(f"{catalogue.BUS} listens")

    async def _start(self, service: Service) -> None:
        if service.is_prepared:
            password = await prepare(preparation(service, self._settings), self._log)
            self._password = self._password or password
            self._done(f"{service.name} prepared")
        await self._bus_listens.wait()
        for program in replicas(service, self._settings):
            self._cluster.keep(program)

    async def _all_ready(self) -> None:
        deadline = self._began + _PATIENCE
        while not await network.is_ready(self._settings):
            if dying := self._cluster.restless(among=_NEEDED):
                raise Problem(f"{dying.program.instance} keeps dying: {dying.last_words or 'see make logs'}")
            if time.monotonic() > deadline:
                raise Problem(f"not ready after {_PATIENCE:.0f} s: see make logs")
            await asyncio.sleep(0.03)
        self._done("ready")

    async def _drop_agent_keys(self) -> None:
        """Takes their keys from agents that were removed since."""
        if not any(self._settings.nats_dir.glob("agents/*.pub")):
            return
        from deploy.local import agent_key  # noqa: PLC0415 - takes the bus with it, which most starts do not need
        from shared.errors import PlatformError  # noqa: PLC0415 - as above

        try:
            dropped = await agent_key.drop_removed(self._settings)
        except (PlatformError, Problem) as error:
            self._tell("agent_keys_not_looked_through", level="warning", cause=str(error))
        else:
            if dropped:
                self._tell("agent_keys_dropped", level="info", agents=dropped)

    def _tell(self, event: str, *, level: str, **fields: object) -> None:
        self._log(records.event(event, service=catalogue.BUS, instance=catalogue.BUS, level=level, **fields))

    def _done(self, what: str) -> None:
        self._terminal.step(what, time.monotonic() - self._began)


def check_ports(settings: Settings) -> None:
    """Raises `Problem` when somebody else listens on one of ours."""
    network.check_free(settings.host, settings.port, setting="PORT")
    network.check_free(nats_server.HOST, settings.nats_port, setting="NATS_URL")


def preparation(service: Service, settings: Settings) -> Program:
    """What makes the service's data ready."""
    return _program(service, f"{service.package}.prepare", f"{service.name}-1", settings)


def replicas(service: Service, settings: Settings) -> Iterator[Program]:
    """As many programs as are wanted of the service, `auth-1`, `auth-2` and so on."""
    for number in range(1, settings.replicas[service.name] + 1):
        yield replica(service, number, settings)


def replica(service: Service, number: int, settings: Settings) -> Program:
    """One of them."""
    return _program(service, service.package, f"{service.name}-{number}", settings)


def _program(service: Service, module: str, instance: str, settings: Settings) -> Program:
    return Program(
        service=service.name,
        instance=instance,
        argv=(sys.executable, "-m", module),
        environment={**environment.of_service(service.name, settings.environment), "INSTANCE": instance},
        directory=settings.root,
        stage=1 + catalogue.SERVICES.index(service),
    )
