"""Whether the time of a refused log-in tells that there is such an account.

One connection, one try after the other, all kinds in random order, with hashes of an earlier SCRYPT_P among them.
"""

import http.client
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from statistics import median

from tests.bench.comparison import mann_whitney_p, median_difference_interval
from tests.bench.linux import MachineTime
from tests.bench.system import running_system

SCRYPT_P_BEFORE, SCRYPT_P = "1", "2"
_TRIES = 8  # of one account: less than the ten after which there is a delay
_PASSWORD = "violet tram under eight bridges"
_WRONG_PASSWORD = "violet tram under three bridges"
_REFUSED = "401 "
_NEW_EACH_TIME = ("date", "x-request-id")


class Kind(StrEnum):
    """Why a log-in is refused."""

    UNKNOWN = "unknown account"
    WRONG = "wrong password"
    WRONG_OLD = "wrong password, hash of an earlier SCRYPT_P"
    DISABLED = "disabled account, right password"


@dataclass(frozen=True, slots=True)
class Difference:
    """How a kind's times stand to those of unknown accounts."""

    median_ms: float
    interval_ms: tuple[float, float]
    """Of the median's difference, 95 %."""
    p: float
    """Of the Mann-Whitney U test: how often chance alone puts the two kinds that far apart."""


@dataclass(frozen=True, slots=True)
class LoginTiming:
    """Times of refused log-ins by kind, in ms, and how often they were answered how."""

    times_ms: Mapping[Kind, Sequence[float]]
    answers: Mapping[str, Counter[Kind]]
    """By all that an answer says, but for what is new each time."""
    stolen_percent: float
    """What the hypervisor withheld of the machine meanwhile."""

    def median_ms(self, kind: Kind) -> float:
        """The kind's median."""
        return median(self.times_ms[kind])

    def difference(self, kind: Kind) -> Difference:
        """The kind beside unknown accounts."""
        of_kind, unknown = self.times_ms[kind], self.times_ms[Kind.UNKNOWN]
        interval = median_difference_interval(of_kind, unknown, random=Random(1))
        return Difference(median(of_kind) - median(unknown), interval, mann_whitney_p(of_kind, unknown))

    @property
    def wrong_answers(self) -> list[str]:
        """The answers that are no refusal, or that some kinds have more often than others."""
        return [
            f"{answer}: {dict(counts)}"
            for answer, counts in self.answers.items()
            if not answer.startswith(_REFUSED) or len({counts[kind] for kind in self.times_ms}) > 1
        ]


def login_timing(data_dir: Path, *, accounts: int, upstream_port: int) -> LoginTiming:
    """Try `accounts` accounts of each kind eight times each, at a system of its own."""
    random = Random()
    emails = [f"somebody-{number:04}@example.org" for number in range(accounts * len(Kind))]
    random.shuffle(emails)  # so that no name goes with a kind
    of_kind = {kind: emails[at * accounts : (at + 1) * accounts] for at, kind in enumerate(Kind)}
    with running_system(data_dir, upstream_port=upstream_port, SCRYPT_P=SCRYPT_P_BEFORE) as system:
        for email in of_kind[Kind.WRONG_OLD]:
            system.add_user(email, _PASSWORD)
        system.restart(SCRYPT_P=SCRYPT_P)
        for email in of_kind[Kind.WRONG]:
            system.add_user(email, _PASSWORD)
        for email in of_kind[Kind.DISABLED]:
            system.add_user(email, _PASSWORD, disabled=True)
        tries = [(kind, email) for kind in Kind for email in of_kind[kind] for _ in range(_TRIES)]
        random.shuffle(tries)
        return _refused(_Door(system.port), tries)


def _refused(door: "_Door", tries: Sequence[tuple[Kind, str]]) -> LoginTiming:
    times_ms: dict[Kind, list[float]] = {kind: [] for kind in Kind}
    answers: dict[str, Counter[Kind]] = defaultdict(Counter)
    for email in _warming_up():
        door.try_to_log_in(email, _WRONG_PASSWORD)
    machine = MachineTime.read()
    for kind, email in tries:
        answer, seconds = door.try_to_log_in(email, _PASSWORD if kind is Kind.DISABLED else _WRONG_PASSWORD)
        times_ms[kind].append(seconds * 1000)
        answers[answer][kind] += 1
    machine = MachineTime.read().since(machine)
    return LoginTiming(times_ms, answers, 100 * machine.stolen / machine.total)


def _warming_up() -> Iterator[str]:
    return (f"nobody-{number:04}@example.org" for number in range(2 * _TRIES))


class _Door:
    """One kept connection to the edge."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("localhost", port, timeout=30)

    def try_to_log_in(self, email: str, password: str) -> tuple[str, float]:
        """What was answered, without what is new each time, and after how many seconds."""
        body = json.dumps({"email": email, "password": password}).encode()
        began = time.perf_counter()
        self._connection.request("POST", "/api/v1/auth/login", body, {"content-type": "application/json"})
        response = self._connection.getresponse()
        content = response.read()
        seconds = time.perf_counter() - began
        return _what_it_says(response, content), seconds


def _what_it_says(response: http.client.HTTPResponse, content: bytes) -> str:
    headers = {name.lower(): "" if name.lower() in _NEW_EACH_TIME else value for name, value in response.getheaders()}
    # How many log-ins the address has left, and for how long, changes with each; the account's own count is compared.
    limits = re.sub(r'("login";r=)\d+|(;t=)\d+', r"\1\2", headers.pop("ratelimit", ""))
    said = json.loads(content) | {"requestId": ""}
    return f"{response.status} {json.dumps(said)} {json.dumps(headers)} {limits}"
