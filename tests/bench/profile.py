"""Where each Python process spends its time under a load, sampled from outside by py-spy."""

import json
import linecache
import re
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench.load import Load, collect, start

_SAMPLES_PER_SECOND = 200
_SECONDS = 10
_TOP = 20
_WAIT = re.compile(r"\.(get|wait|acquire)\(")


@dataclass(frozen=True, slots=True)
class Flat:
    """Samples by function: on top of the stack, and anywhere in it."""

    samples: int
    own: Counter[str]
    total: Counter[str]


def profile(load: Load, pids: Mapping[str, int], directory: Path, *, prefix: str) -> str:
    """Sample the given processes for 10 s while the load runs.

    Writes `<prefix>-<role>.speedscope.json` (for speedscope.app) and `<prefix>-<role>.txt` per process and returns the
    texts. Sampling slows the processes: the load's own figures are not for comparison.
    """
    directory.mkdir(parents=True, exist_ok=True)
    recordings = {role: directory / f"{prefix}-{role}.speedscope.json" for role in pids}
    generator = start(replace(load, measured_s=_SECONDS + 1.0))
    samplers = [_sample(pid, recordings[role]) for role, pid in pids.items()]
    for sampler in samplers:
        sampler.wait()
    collect(generator)

    texts = []
    for role, recording in recordings.items():
        if not recording.exists():  # py-spy has said why on stderr, for example that it may not trace
            continue
        text = f"{prefix} {role}: {_text(flat(json.loads(recording.read_text())))}"
        (directory / f"{prefix}-{role}.txt").write_text(text + "\n")
        texts.append(text)
    return "\n\n".join(texts)


def flat(speedscope: Mapping[str, Any]) -> Flat:
    """Count a sampled speedscope file (one profile per thread) by function, without threads that wait for work."""
    frames = speedscope["shared"]["frames"]
    names = [_function(frame) for frame in frames]
    waits = [_waits(frame) for frame in frames]
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    samples = 0
    for thread in speedscope["profiles"]:
        for stack in filter(None, thread["samples"]):
            if waits[stack[-1]] and "_bootstrap" in names[stack[0]]:
                continue
            samples += 1
            own[names[stack[-1]]] += 1
            total.update({names[frame] for frame in stack})
    return Flat(samples, own, total)


def _sample(pid: int, recording: Path) -> subprocess.Popen[bytes]:
    command = [str(Path(sysconfig.get_path("scripts")) / "py-spy"), "record", "--pid", str(pid)]
    command += ["--duration", str(_SECONDS), "--rate", str(_SAMPLES_PER_SECOND)]
    command += ["--format", "speedscope", "--output", str(recording)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _function(frame: Mapping[str, str]) -> str:
    place = frame.get("file", "").partition("site-packages/")[2] or "/".join(Path(frame.get("file", "")).parts[-3:])
    return f"{frame['name']} ({place})"


def _waits(frame: Mapping[str, Any]) -> bool:
    """True on a line that waits in C for a queue or a lock: py-spy takes such a thread for a busy one."""
    return _WAIT.search(linecache.getline(frame.get("file", ""), frame.get("line", 0))) is not None


def _text(counted: Flat) -> str:
    busy = 100 * counted.samples / (_SAMPLES_PER_SECOND * _SECONDS)
    parts = [f"on a CPU in {busy:.0f} % of the samples"]
    for title, functions in (("own time", counted.own), ("own and called", counted.total)):
        parts.append(f"  {title}, % of those")
        parts += [f"  {100 * n / counted.samples:6.1f}  {name}" for name, n in functions.most_common(_TOP)]
    return "\n".join(parts)
