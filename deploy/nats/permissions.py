"""Who may say what on the bus: one table that makes the server's configuration and drives a test of every cell."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.bus import Contract, Kind
from shared.bus.cancelling import cancel_subject, replies_of
from shared.bus.direct import direct_subject, directly_to
from shared.bus.records import create_subject, read_subject, record_subject
from shared.bus.streams import flow_of, streams_of
from shared.bus.talks import talks_with
from shared.contracts import (
    audit,
    audit_export,
    audit_tree,
    auth,
    conversations,
    events,
    metrics,
    openai,
    orchestrator,
    second_factor,
    sessions,
    users,
    witness,
)
from shared.contracts.bus_agents import ASKED_AT, QUEUE, agent_subject
from shared.contracts.health import health_contract
from shared.versions import version_contract, version_subject

MAX_PAYLOAD = "8MB"
MAX_RECORDS = "256MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class BusUser:
    """A user of the bus and all it may do.

    `serves`: answers `peanut.<name>.>` in its queue group, and what is sent to one of its replicas; hears which of
    these calls nobody waits for any more. `passes_principal`: may call on behalf of somebody else; nobody but these may
    publish to a subject whose service acts on the principal in the headers. `discovers`: may ask which replicas are
    there, and call one of them. `keeps`: the bucket of records that it makes, reads and writes. `shares`: subjects on
    which its replicas tell each other things. `asks_agents`: asks agents that are on the bus themselves.
    """

    name: str
    serves: bool
    calls: tuple[Contract[Any, Any], ...] = ()
    asks_versions_of: tuple[str, ...] = ()
    hears_versions_of: tuple[str, ...] = ()
    owns_versions: tuple[str, ...] = ()
    tells: tuple[events.Event[Any], ...] = ()
    hears: tuple[events.Event[Any], ...] = ()
    discovers: bool = False
    passes_principal: bool = False
    keeps: str | None = None
    shares: tuple[str, ...] = ()
    asks_agents: bool = False

    @property
    def streams_from(self) -> tuple[str, ...]:
        """The services that it reads streams of."""
        return tuple(sorted({contract.service for contract in self.calls if contract.kind is Kind.STREAM}))

    @property
    def asks(self) -> frozenset[str]:
        """The services that it calls."""
        called = (*self.calls, *(version_contract(name) for name in self.asks_versions_of))
        return frozenset(contract.service for contract in called)

    @property
    def _sent_again(self) -> list[Contract[Any, Any]]:
        """Calls that go to another replica, which this user finds, when the one that got them is silent."""
        calls = [*self.calls, *(version_contract(name) for name in self.asks_versions_of)]
        return [contract for contract in calls if self.discovers and contract.kind is not Kind.CHANGE]

    @property
    def may_publish(self) -> tuple[str, ...]:
        """Subjects of calls, of their cancelling and their streams, of answers to its own, events and records.

        Who asks in discovery is answered by allow_responses.
        """
        calls = [contract.subject for contract in self.calls]
        calls += [version_contract(name).subject for name in self.asks_versions_of]
        ending = {contract.service for contract in self.calls if contract.kind.ends_with_its_caller}
        calls += [cancel_subject(service, self.name) for service in sorted(ending)]
        streams = [f"{flow_of(service)}>" for service in self.streams_from]
        streams += [f"{streams_of(user.name)}>" for user in USERS if self.name in user.streams_from]
        calls += [direct_subject(contract.name, "*") for contract in self._sent_again]
        answers = [f"{replies_of(user.name, self.name)}>" for user in USERS if self.name in user.asks]
        told = [version_subject(name) for name in self.owns_versions] + [event.subject for event in self.tells]
        records = (
            [create_subject(self.keeps), read_subject(self.keeps), record_subject(self.keeps)] if self.keeps else []
        )
        others = (["$SRV.>"] if self.discovers else []) + ([ASKED_AT] if self.asks_agents else [])
        return (*calls, *streams, *answers, *told, *self.shares, *records, *others)

    @property
    def may_subscribe(self) -> tuple[str, ...]:
        """The own inbox and streams, the own calls (in the queue group only), their end, what is told, discovery."""
        own = [f"_INBOX_{self.name}.>"]
        if self.streams_from:
            own.append(f"{streams_of(self.name)}>")
        if any(contract.service == self.name and contract.kind.ends_with_its_caller for contract in _all_calls()):
            own.append(f"{flow_of(self.name)}>")
        if self.serves:
            own += [f"peanut.{self.name}.> {self.name}", f"{directly_to(self.name, '*')}>"]
            own += [cancel_subject(self.name, "*"), *_discovery_of(self.name)]
        heard = [version_subject(name) for name in (*self.asks_versions_of, *self.hears_versions_of)]
        return (*own, *self.shares, *heard, *(event.subject for event in self.hears))


@dataclass(frozen=True, slots=True)
class BusAgent:
    """A bus agent and all it may do: hear what it is asked, and answer that.

    Where it answers is below its own id, by a lasting permission: one for each question, by allow_responses, would be
    forgotten whenever the server reads its configuration anew for another agent's key.
    """

    id: str

    @property
    def may_publish(self) -> tuple[str, ...]:
        """Where the orchestrator hears its answers."""
        return (talks_with("orchestrator", self.id),)

    @property
    def may_subscribe(self) -> tuple[str, ...]:
        """Its questions, in its queue group only; each of its processes hears what is cancelled."""
        return (f"{agent_subject(self.id, '>')} {QUEUE}", agent_subject(self.id, "cancel"))


SERVICES = ("edge", "auth", "orchestrator", "audit", "witness")

USERS = (
    BusUser(
        name="edge",
        serves=True,
        passes_principal=True,
        discovers=True,
        calls=(
            auth.LOG_IN,
            auth.LOG_OUT,
            auth.RESOLVE,
            auth.CHANGE_PASSWORD,
            auth.CREATE_KEY,
            auth.LIST_KEYS,
            auth.REVOKE_KEY,
            second_factor.VERIFY_TOTP,
            second_factor.SET_UP_TOTP,
            second_factor.CONFIRM_TOTP,
            second_factor.DISABLE_TOTP,
            second_factor.RENEW_BACKUP_CODES,
            sessions.LIST_SESSIONS,
            sessions.REVOKE_SESSION,
            sessions.REVOKE_OTHER_SESSIONS,
            sessions.SEEN,
            users.LIST_USERS,
            users.GET_USER,
            users.CREATE_USER,
            users.UPDATE_USER,
            users.DELETE_USER,
            users.END_SESSIONS,
            users.RESET_TOTP,
            orchestrator.REGISTER_AGENT,
            orchestrator.LIST_AGENTS,
            orchestrator.GET_AGENT,
            orchestrator.UPDATE_AGENT,
            orchestrator.MAINTAIN_AGENT,
            orchestrator.REMOVE_AGENT,
            orchestrator.CHECK_AGENT,
            conversations.LIST_CONVERSATIONS,
            conversations.GET_CONVERSATION,
            conversations.DELETE_CONVERSATION,
            orchestrator.DISPATCH,
            orchestrator.STREAM_DISPATCH,
            openai.COMPLETE_CHAT,
            openai.STREAM_CHAT,
            openai.CREATE_EMBEDDINGS,
            openai.LIST_MODELS,
            metrics.READ_METRICS,
            metrics.READ_TOTALS,
            audit.QUERY,
            audit_export.EXPORT,
            audit_export.FOLLOW,
            audit.ERASE,
            audit_tree.GET_CHECKPOINT,
            audit_tree.PROVE_INCLUSION,
            audit_tree.PROVE_CONSISTENCY,
            audit.append_contract("edge"),
            *(health_contract(service) for service in SERVICES),
        ),
        asks_versions_of=(auth.IDENTITIES,),
        hears=(
            events.AGENT_HEALTH_CHANGED,
            events.AGENT_CHANGED,
            events.INTEGRITY_CHANGED,
            audit_export.ENTRIES_COMMITTED,
        ),
    ),
    BusUser(
        name="auth",
        serves=True,
        calls=(audit.append_contract("auth"),),
        owns_versions=(auth.IDENTITIES,),
    ),
    BusUser(
        name="orchestrator",
        serves=True,
        calls=(audit.append_contract("orchestrator"),),
        hears_versions_of=(orchestrator.AGENTS,),
        owns_versions=(orchestrator.AGENTS,),
        tells=(events.AGENT_HEALTH_CHANGED, events.AGENT_CHANGED),
        keeps=orchestrator.LIMITS,
        shares=(orchestrator.CIRCUITS,),
        asks_agents=True,
    ),
    BusUser(
        name="audit",
        serves=True,
        calls=(witness.ADD_CHECKPOINT, witness.LAST_CHECKPOINT),
        tells=(events.INTEGRITY_CHANGED, audit_export.ENTRIES_COMMITTED),
    ),
    BusUser(name="witness", serves=True),
    BusUser(
        name="operator",
        serves=False,
        passes_principal=True,
        calls=(
            auth.ISSUE_KEY,
            users.RESET_ADMIN_PASSWORD,
            orchestrator.ISSUE_AGENT_KEY,
            orchestrator.LIST_AGENTS,
            audit_tree.CHANGE_KEY,
        ),
    ),
)


def configuration(
    public_keys: Mapping[str, str], *, host: str, port: int, store_dir: Path, agents: Mapping[str, str] | None = None
) -> str:
    """The nats-server configuration for the users, and the bus agents by id, whose nkeys' public halves are given.

    Records are kept in memory only; `store_dir` is a folder that JetStream asks for nevertheless. Each bucket is in an
    account of its own, which hears nothing but that bucket's subjects: whoever may make a stream decides what it keeps
    a copy of, and that must not be other people's calls.
    """
    known = [_user(user, public_keys[user.name]) for user in USERS]
    known += [_agent(BusAgent(id), key) for id, key in (agents or {}).items()]
    users = ",\n".join(known)
    buckets = [user.keeps for user in USERS if user.keeps]
    imports = ",\n".join(_import(bucket, subject, to) for bucket in buckets for subject, to in _subjects_of(bucket))
    return f"""\
host: {json.dumps(host)}
port: {port}
max_payload: {MAX_PAYLOAD}
max_pending: 64MB
write_deadline: "5s"
ping_interval: "5s"
ping_max: 2
authorization {{
  timeout: 2
}}
jetstream {{
  store_dir: {json.dumps(str(store_dir))}
  max_memory_store: {MAX_RECORDS}
  max_file_store: 0
}}
accounts {{
  PEANUT {{
    users: [
{users}
    ]
    imports: [
{imports}
    ]
  }}
{"".join(_account_of(bucket) for bucket in buckets)}}}
"""


def _all_calls() -> Iterator[Contract[Any, Any]]:
    return (contract for user in USERS for contract in user.calls)


def _subjects_of(bucket: str) -> tuple[tuple[str, str], ...]:
    """What a bucket's account is asked, and as what a user asks it: `$JS.API` is already that of the user's account."""
    stream = f"KV_{bucket}"
    return (
        (f"$JS.API.STREAM.CREATE.{stream}", create_subject(bucket)),
        (f"$JS.API.STREAM.MSG.GET.{stream}", read_subject(bucket)),
        (record_subject(bucket), record_subject(bucket)),
    )


def _import(bucket: str, subject: str, to: str) -> str:
    service = json.dumps({"account": _account_name(bucket), "subject": subject})
    return f"      {{ service: {service}, to: {json.dumps(to)} }}"


def _account_of(bucket: str) -> str:
    exports = ", ".join(json.dumps({"service": subject, "accounts": ["PEANUT"]}) for subject, _ in _subjects_of(bucket))
    return f"""\
  {_account_name(bucket)} {{
    jetstream: {{ max_memory: {MAX_RECORDS}, max_file: 0, max_streams: 1, max_consumers: 0 }}
    exports: [{exports}]
  }}
"""


def _account_name(bucket: str) -> str:
    return f"RECORDS_{bucket.upper()}"


def _discovery_of(service: str) -> tuple[str, ...]:
    """Questions to everybody, to this service and to one of its replicas; nobody hears what another is asked."""
    return ("$SRV.PING", "$SRV.INFO", "$SRV.STATS", f"$SRV.*.{service}", f"$SRV.*.{service}.*")


def _user(user: BusUser, public_key: str) -> str:
    # The defaults (one reply within 2 minutes) would cut off long calls, which say each second that they go on.
    return f"""\
    {{
      nkey: {public_key}
      permissions: {{
        publish: {{ allow: {json.dumps(user.may_publish)} }}
        subscribe: {{ allow: {json.dumps(user.may_subscribe)} }}
        allow_responses: {{ max: 1000, expires: "11m" }}
      }}
    }}"""


def _agent(agent: BusAgent, public_key: str) -> str:
    return f"""\
    {{
      nkey: {public_key}
      permissions: {{
        publish: {{ allow: {json.dumps(agent.may_publish)} }}
        subscribe: {{ allow: {json.dumps(agent.may_subscribe)} }}
      }}
    }}"""
