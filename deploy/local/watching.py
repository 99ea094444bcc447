"""`make dev`: starts a service anew when its source has changed."""

from collections.abc import Iterable
from pathlib import Path

import watchfiles

from deploy.local import catalogue
from deploy.local.cluster import Cluster
from deploy.local.supervisor import Companion
from deploy.local.terminal import Terminal


def watcher(root: Path) -> Companion:
    """Watches the sources while the services run. New migrations or another table of the bus need a new start."""

    async def watch(cluster: Cluster, terminal: Terminal) -> None:
        # A fifth of a second joins the writes of one save or checkout.
        async for changes in watchfiles.awatch(root / "shared", root / "services", debounce=200, step=50):
            services = affected((Path(path) for _, path in changes), root)
            if services:
                terminal.say(f"changed, starts anew: {', '.join(services)}")
                await cluster.restart(services)

    return watch


def affected(changed: Iterable[Path], root: Path) -> list[str]:
    """The services that contain one of the files; all of them for a file that they share."""
    tops = [path.relative_to(root).parts for path in changed if path.suffix == ".py"]
    if any(parts[0] == "shared" for parts in tops):
        return [service.name for service in catalogue.SERVICES]
    touched = {parts[1] for parts in tops}
    return [service.name for service in catalogue.SERVICES if service.name in touched]
