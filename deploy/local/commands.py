"""The commands: what `python -m deploy.local <command>`, called by the Makefile in the project's root, does."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.local import up
from deploy.local.down import down
from deploy.local.logs import logs
from deploy.local.problem import Problem
from deploy.local.run import run
from deploy.local.status import status

_MADE_BY = {"background": "up"}


def main() -> int:
    """Runs the command and returns the exit code. A `Problem` becomes one line."""
    arguments = _arguments()
    try:
        return _COMMANDS[arguments.command](arguments, Path.cwd())
    except Problem as problem:
        print(f"make {_MADE_BY.get(arguments.command, arguments.command)}: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _dev(_: argparse.Namespace, root: Path) -> int:
    from deploy.local import watching  # noqa: PLC0415 - takes longer than all the others together

    return up.foreground(root, watching.watcher(root))


def _key(_: argparse.Namespace, root: Path) -> int:
    from deploy.local.key import main as key  # noqa: PLC0415 - takes the bus with it

    return key(root)


def _admin_password(_: argparse.Namespace, root: Path) -> int:
    from deploy.local.admin_password import main as admin_password  # noqa: PLC0415 - takes the bus with it

    return admin_password(root)


def _audit_key(_: argparse.Namespace, root: Path) -> int:
    from deploy.local.audit_key import main as audit_key  # noqa: PLC0415 - takes the bus with it

    return audit_key(root)


def _agent_key(_: argparse.Namespace, root: Path) -> int:
    from deploy.local.agent_key import main as agent_key  # noqa: PLC0415 - takes the bus with it

    return agent_key(root)


_COMMANDS: Mapping[str, Callable[[argparse.Namespace, Path], int]] = {
    "up": lambda arguments, root: up.detached(root) if arguments.detach else up.foreground(root),
    "background": lambda arguments, root: up.background(root, arguments.ready),
    "dev": _dev,
    "down": lambda _, root: down(root),
    "status": lambda _, root: status(root),
    "logs": lambda arguments, root: logs(root, arguments.service),
    "run": lambda arguments, root: run(root, arguments.service),
    "key": _key,
    "admin-password": _admin_password,
    "agent-key": _agent_key,
    "audit-key": _audit_key,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description="Runs PeanutAgent on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up").add_argument("--detach", action="store_true", help="return when all is ready")
    commands.add_parser("background").add_argument("ready", type=int, help="the descriptor to tell that all is ready")
    commands.add_parser("logs").add_argument("service", nargs="?")
    commands.add_parser("run").add_argument("service")
    for name in ("dev", "down", "status", "key", "admin-password", "agent-key", "audit-key"):
        commands.add_parser(name)
    return parser.parse_args()
