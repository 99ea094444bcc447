"""`python -m tests.bench.peers`, or `make bench-peers`: installs the peers, measures them beside PeanutAgent."""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from tests.bench.core_meter import core_meter
from tests.bench.load import Load, measure
from tests.bench.peers.comparison import Cell, Line, to_text
from tests.bench.peers.litellm import LiteLlm
from tests.bench.peers.peer import WORKERS, CannotBeInstalled, DoesNotStart, Peer, running
from tests.bench.peers.portkey import Portkey
from tests.bench.processes import end_on_sigterm, free_port
from tests.bench.progress import progress
from tests.bench.rows import Row, Target, chat_row, upstream_row
from tests.bench.run import running_upstream
from tests.bench.stream_load import StreamLoad, measure_streams
from tests.bench.stream_rows import FIRST_TOKEN, FLAT_OUT, PACED, StreamRow, chat_stream_rows, upstream_stream_rows
from tests.bench.system import running_system

_KINDS = (replace(FIRST_TOKEN, streams=(1, 16, 64)), PACED, FLAT_OUT)
_STREAM_KEYS = 4
_WARM_UP_AT, _WARM_UP_S = 16, 3.0
_PAUSE_S = 2.0  # lets one gateway's late work go before the next is measured
_OURS = f"PeanutAgent, {WORKERS} + {WORKERS}"
_UPSTREAM = "the provider alone"
_OUTPUT = Path(__file__).parents[1] / "results" / "peers.json"


def main() -> int:
    """Exit code: 0, or 1 when PeanutAgent gave a wrong answer or something did not start."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="measured time per row and number (default 4)")
    parser.add_argument("--output", type=Path, default=_OUTPUT, help="the JSON file")
    arguments = parser.parse_args()
    end_on_sigterm()
    try:
        cells = _run(arguments.seconds)
    except KeyboardInterrupt:
        return 130
    except (RuntimeError, OSError) as error:
        print(f"bench-peers: {error}", file=sys.stderr)
        return 1
    print(to_text(cells, _OURS))
    content = [
        {"title": title, "at": at, "gateway": gateway, **asdict(cell)}
        for (title, at), by_gateway in cells.items()
        for gateway, cell in by_gateway.items()
    ]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")
    return 1 if any(by_gateway[_OURS].error_count for by_gateway in cells.values()) else 0


def _run(seconds: float) -> dict[Line, dict[str, Cell]]:
    """All gateways run at the same time; each row is measured of one after the other."""
    peers = _installed()
    with ExitStack() as stack:
        upstream = stack.enter_context(running_upstream())
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peanut-bench-")))
        stack.enter_context(core_meter(scratch / "cores"))
        rows: dict[str, list[Row]] = {_UPSTREAM: [upstream_row(upstream)]}
        streams: dict[str, list[StreamRow]] = {_UPSTREAM: upstream_stream_rows(upstream, _KINDS)}
        progress(f"starting {_OURS}")
        scale = f"edge={WORKERS} orchestrator={WORKERS}"
        system = stack.enter_context(running_system(scratch / "data", upstream_port=upstream.port, SCALE=scale))
        system.register_agents()
        keys = system.api_keys(_STREAM_KEYS)
        rows[_OURS] = [chat_row("chat", "", system, keys[0])]
        streams[_OURS] = chat_stream_rows("chat", "", system, keys, kinds=_KINDS)
        for peer in peers:
            progress(f"starting {peer.name}")
            log = scratch / f"{type(peer).__name__}.log"
            try:
                target = stack.enter_context(running(peer, port=free_port(), upstream_port=upstream.port, log=log))
            except DoesNotStart as error:
                print(f"{peer.name} does not get ready: {error}")
                continue
            more = target.headers
            rows[peer.name] = [chat_row("chat", "", target, target.api_key, more_headers=more)]
            streams[peer.name] = chat_stream_rows("chat", "", target, [target.api_key], kinds=_KINDS, more_headers=more)
        return _measured(rows, streams, upstream, seconds)


def _installed() -> list[Peer]:
    """Those that can be installed; of the others it says so in a line."""
    installed: list[Peer] = []
    for peer in (Portkey(), LiteLlm()):  # the one that stays busy after its rows comes last
        progress(f"installing {peer.name}")
        try:
            peer.install()
        except CannotBeInstalled as error:
            print(f"{peer.name} cannot be installed here: {error}")
        else:
            installed.append(peer)
    return installed


def _measured(
    rows: dict[str, list[Row]], streams: dict[str, list[StreamRow]], upstream: Target, seconds: float
) -> dict[Line, dict[str, Cell]]:
    cells: dict[Line, dict[str, Cell]] = {}
    for gateway, (row,) in rows.items():
        progress(f"warming up {gateway}")
        measure(_load(row, upstream, connections=_WARM_UP_AT, seconds=_WARM_UP_S))  # each worker imports late
    for at in (1, 16, 64):
        for gateway, (row,) in rows.items():
            progress(f"{gateway} at {at}")
            time.sleep(_PAUSE_S)
            measured = measure(_load(row, upstream, connections=at, seconds=seconds))
            line = cells.setdefault(("POST /v1/chat/completions", at), {})
            line[gateway] = Cell.of(measured, times_ms=measured.latency_ms)
    for number, kind in enumerate(_KINDS):
        for at in kind.streams:
            for gateway, of_gateway in streams.items():
                progress(f"{gateway}, {at} streams, {kind.title}")
                time.sleep(_PAUSE_S)
                streamed = measure_streams(_stream_load(of_gateway[number], upstream, streams=at, seconds=seconds))
                is_first = kind.name == FIRST_TOKEN.name
                title = f"streams, {kind.title}: chunks, {'first token' if is_first else 'delay'}"
                times_ms = streamed.first_token_ms if is_first else streamed.delay_ms
                cells.setdefault((title, at), {})[gateway] = Cell.of(streamed, times_ms=times_ms)
    return cells


def _load(row: Row, upstream: Target, *, connections: int, seconds: float) -> Load:
    return Load(
        port=row.target.port,
        request=row.request,
        expected=row.expected,
        connections=connections,
        warm_up_s=1.0,
        measured_s=seconds,
        watched={**row.target.pids(), **upstream.pids()},
    )


def _stream_load(row: StreamRow, upstream: Target, *, streams: int, seconds: float) -> StreamLoad:
    return StreamLoad(
        port=row.target.port,
        requests=row.requests,
        end=row.end,
        streams=streams,
        warm_up_s=1.0,
        measured_s=seconds,
        provider_port=upstream.port,
        watched={**row.target.pids(), **upstream.pids()},
    )


if __name__ == "__main__":
    sys.exit(main())
