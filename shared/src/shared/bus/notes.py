"""What an answer says beside its body: noted where it is known, told in the reply's headers, passed on by who asked.

That is the limits a call has met, as in HTTP (draft-ietf-httpapi-ratelimit-headers-11), the agent that answered, and
whether the answer is an earlier one told again; the edge only has to copy the headers. What is noted belongs to the
task that works on the call; a task that it starts notes for itself alone.
"""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import NamedTuple

from shared.limits import Charge

LIMITS = "RateLimit"
POLICIES = "RateLimit-Policy"
AGENT = "Peanut-Agent"
REPLAYED = "Idempotency-Replayed"

_STATE = re.compile(r'"([a-z-]{1,32})";r=\d{1,15};t=\d{1,15}')
_POLICY = re.compile(r'"([a-z-]{1,32})";q=\d{1,15};w=\d{1,15}')
_ID = re.compile(r"[0-9a-f-]{1,64}")


class LimitState(NamedTuple):
    """How far a limit is used up: `remaining` of `quota` in this window of `window_s`, all again in `reset_s`."""

    policy: str
    quota: int
    window_s: int
    remaining: int
    reset_s: int


class _Notes(NamedTuple):
    limits: Mapping[str, tuple[str, str]] = {}
    """By the policy's name: the policy and its state, as they stand in the headers."""
    agent: str = ""
    is_replayed: bool = False


_NOTHING = _Notes()
_noted: ContextVar[_Notes] = ContextVar("notes", default=_NOTHING)


def note_limit(state: LimitState) -> None:
    """Has the answer to this call say how a limit stands; what was said of the same one before is replaced."""
    policy = _policy(state.policy, state.quota, state.window_s)
    _note_limits({state.policy: (policy, f'"{state.policy}";r={state.remaining};t={state.reset_s}')})


def note_charge(charge: Charge) -> None:
    """The same of what came of a try."""
    policy = charge.policy
    window_s = int(policy.window.total_seconds())
    note_limit(LimitState(policy.name, policy.quota, window_s, charge.remaining, charge.reset_s))


def note_agent(id: str) -> None:
    """Has the answer to this call say which agent it is of."""
    noted = _noted.get()
    _noted.set(_Notes(noted.limits, id, noted.is_replayed))


def note_replayed() -> None:
    """Has the answer to this call say that it is that of an earlier one."""
    noted = _noted.get()
    _noted.set(_Notes(noted.limits, noted.agent, True))


def noted_headers() -> Mapping[str, str] | None:
    """The headers for all that was noted; None when that is nothing, as on most calls."""
    noted = _noted.get()
    if noted is _NOTHING:
        return None
    headers = {}
    if len(noted.limits) == 1:
        ((headers[POLICIES], headers[LIMITS]),) = noted.limits.values()
    elif noted.limits:
        headers[POLICIES] = ", ".join(policy for policy, _ in noted.limits.values())
        headers[LIMITS] = ", ".join(state for _, state in noted.limits.values())
    if noted.agent:
        headers[AGENT] = noted.agent
    if noted.is_replayed:
        headers[REPLAYED] = "true"
    return headers


def hear_notes(headers: Mapping[str, str]) -> None:
    """Notes what a reply says; what is not said as `noted_headers` says it is left out."""
    if LIMITS in headers:
        _hear_limits(headers.get(POLICIES, ""), headers[LIMITS])
    if _ID.fullmatch(headers.get(AGENT, "")):
        note_agent(headers[AGENT])
    if headers.get(REPLAYED) == "true":
        note_replayed()


def forget_notes() -> None:
    """Begins a call in a context that may be that of another one."""
    _noted.set(_NOTHING)


def _hear_limits(policies: str, states: str) -> None:
    policy, state = _POLICY.fullmatch(policies), _STATE.fullmatch(states)
    if policy and state and policy[1] == state[1]:  # one limit, as on nearly every call that has met any
        _note_limits({policy[1]: (policies, states)})
        return
    known = {match[1]: match[0] for match in _each(_POLICY, policies)}
    heard = {match[1]: (known[match[1]], match[0]) for match in _each(_STATE, states) if match[1] in known}
    if heard:
        _note_limits(heard)


def _note_limits(told: Mapping[str, tuple[str, str]]) -> None:
    noted = _noted.get()
    _noted.set(_Notes({**noted.limits, **told} if noted.limits else told, noted.agent, noted.is_replayed))


@lru_cache(maxsize=1024)
def _policy(name: str, quota: int, window_s: int) -> str:
    return f'"{name}";q={quota};w={window_s}'


def _each(form: re.Pattern[str], items: str) -> list[re.Match[str]]:
    return [match for item in items.split(", ") if (match := form.fullmatch(item))]
