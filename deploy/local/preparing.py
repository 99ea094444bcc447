"""Makes a service's data ready before it starts: migrations, and what a first start needs."""

import asyncio
import contextlib
import json
import subprocess

from deploy.local import processes, records
from deploy.local.keeper import Log
from deploy.local.problem import Problem
from deploy.local.processes import Program


async def prepare(program: Program, log: Log) -> str | None:
    """Runs the program to its end and returns the admin password it has generated, if it has.

    Its standard output may hold that password and is therefore never logged. Raises `Problem` when it fails.
    """
    process = await processes.spawn(program, stderr=subprocess.PIPE)
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        await processes.stop(process, grace=5)
        raise
    lines = [line for line in errors.splitlines() if line.strip()]
    for line in lines:
        log(records.as_record(line, service=program.service, instance=program.instance))
    if process.returncode != 0:
        raise Problem(_failure(program, lines))
    return _password(output)


def _failure(program: Program, errors: list[bytes]) -> str:
    said = errors[-1].decode(errors="replace") if errors else "it says nothing about why"
    return f"{program.service} could not be made ready: {said}"


def _password(output: bytes) -> str | None:
    for line in output.splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            if password := json.loads(line).get("adminPassword"):
                return str(password)
    return None
