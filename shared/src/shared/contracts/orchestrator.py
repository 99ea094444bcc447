"""What the orchestrator answers: agents, their health, and dispatch."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from shared.bus import Contract, HttpMessage, Kind, Message, Moment, Nothing, Secret

# Not control characters, ends of lines, or what turns the direction of the text after it (Unicode TR 36, section 2.5);
# and something that is no blank.
_ODD = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_READABLE = rf"^[^{_ODD}]*[^{_ODD}\s][^{_ODD}]*$"
_VISIBLE = "^[!-~]+$"


def _require_visible(key: SecretStr) -> SecretStr:
    """A header carries it (RFC 9110 section 5.5)."""
    if not re.fullmatch(_VISIBLE, key.get_secret_value()):
        raise ValueError("may have only visible ASCII characters, without blanks")
    return key


def _require_name_in_path(id: str) -> str:
    """It stands in paths, from which clients take these two out (RFC 3986 section 5.2.4), escaped or not."""
    if id in {".", ".."}:
        raise ValueError("may be neither . nor .., which no client can ask for in a path")
    return id


AgentType = Literal["ollama", "openai", "anthropic", "custom", "kilo", "bus", "echo"]
AgentStatus = Literal["online", "degraded", "offline", "maintenance"]
AgentName = Annotated[str, Field(min_length=2, max_length=64, pattern=_READABLE)]
ModelName = Annotated[str, Field(min_length=1, max_length=200, pattern=_READABLE)]
SessionId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern=_READABLE,
        description="The conversation that this goes on, or begins under this name, which is neither `.` nor `..`;"
        " `new` begins one with a new name",
    ),
    AfterValidator(_require_name_in_path),
]
Endpoint = Annotated[str, Field(min_length=1, max_length=2048)]
ApiKey = Annotated[
    Secret,
    Field(min_length=1, max_length=4096, json_schema_extra={"pattern": _VISIBLE}),
    AfterValidator(_require_visible),
]
MaxTokens = Annotated[int, Field(ge=1, le=200_000)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Priority = Annotated[int, Field(ge=1, le=10)]
Weight = Annotated[int, Field(ge=1, le=100)]
MaxConcurrency = Annotated[int, Field(ge=1, le=1000)]
Tag = Annotated[str, Field(min_length=1, max_length=64)]
Tags = Annotated[list[Tag], Field(max_length=32)]
Metadata = Annotated[dict[Annotated[str, Field(max_length=64)], Any], Field(max_length=32)]


_CONCURRENCY = (
    "Dispatches that each replica of the orchestrator has the agent work on at once; as many more wait for up to 2 s"
)


class RegisterAgent(HttpMessage):
    """An agent to be added to the pool."""

    name: AgentName = Field(examples=["llama"])
    type: AgentType = Field(
        examples=["ollama"],
        description=(
            "`ollama`; `openai`, and what speaks its API at `…/v1`; `anthropic`, and what speaks its Messages API; "
            "`custom`: OpenAI's API under any base path, with or without a list of models; `kilo`: not reached yet, "
            "a dispatch to it is 503 `kilo-unavailable`; `bus`: connects to NATS itself, with a key of its own from "
            "`make agent-key`; `echo`: built in"
        ),
    )
    endpoint: Endpoint | None = Field(
        default=None,
        examples=["http://localhost:11434"],
        description=(
            "The base address, to which is added: `/api/chat` (ollama), `/chat/completions` (openai, custom), "
            "`/v1/messages` (anthropic). Needed, but for `kilo`, `bus` and `echo`, which have none"
        ),
    )
    model: ModelName = Field(examples=["qwen2.5:7b"])
    api_key: ApiKey | None = Field(
        default=None,
        description=(
            "Sent to the agent and nobody else, as a bearer token or, by `anthropic`, as x-api-key; never shown again. "
            "`kilo`, `bus` and `echo` have none"
        ),
    )
    max_tokens: MaxTokens = 4096
    temperature: Temperature = Field(
        default=0, description="At most 1 is sent to `anthropic`; left out for models that say they do not support it"
    )
    priority: Priority = 5
    weight: Weight = 10
    max_concurrency: MaxConcurrency = Field(default=100, description=_CONCURRENCY)
    tags: Tags = Field(default_factory=list, examples=[["code"]])
    metadata: Metadata = Field(default_factory=dict)


class AgentChanges(HttpMessage):
    """The fields of an agent that shall change; those left out stay. `apiKey: null` removes the key.

    An endpoint at another scheme, host or port without `apiKey` removes it too: a key goes only where it was given for.
    """

    name: AgentName | None = None
    endpoint: Endpoint | None = None
    model: ModelName | None = None
    api_key: ApiKey | None = None
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    priority: Priority | None = None
    weight: Weight | None = None
    max_concurrency: MaxConcurrency | None = Field(default=None, description=_CONCURRENCY)
    tags: Tags | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _only_a_key_can_be_removed(self) -> Self:
        for name in self.model_fields_set - {"api_key"}:
            if getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null; leave it out to keep it")
        return self


class AgentHealth(Message):
    """How an agent fares, as this replica sees it. `latency_ms` is that of the last probe."""

    agent_id: str
    status: AgentStatus
    latency_ms: float | None
    success_rate: float | None
    request_count: int
    error_count: int
    last_checked_at: Moment | None
    details: str


class Agent(Message):
    """An agent of the pool. `version` grows with each change and is its ETag."""

    id: str
    name: str
    type: AgentType
    endpoint: str | None
    model: str
    has_api_key: bool
    max_tokens: int
    temperature: float
    priority: int
    weight: int
    max_concurrency: int
    tags: list[str]
    metadata: dict[str, Any]
    created_at: Moment
    updated_at: Moment
    version: int
    health: AgentHealth


class ListAgents(Message):
    """Filters and a page of the agents."""

    type: AgentType | None = None
    status: AgentStatus | None = None
    tag: str | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: str | None = None


class Agents(Message):
    """A page of agents in the order they were registered; `next_cursor` is None on the last one."""

    items: list[Agent]
    next_cursor: str | None


class GetAgent(Message):
    """One agent."""

    id: str


class UpdateAgent(Message):
    """Changes to one agent, only if it still has `if_version` when that is given."""

    id: str
    if_version: int | None = None
    changes: AgentChanges


class Maintenance(HttpMessage):
    """Whether an agent is in maintenance: it gets no new work, finishes what it has, and is still probed."""

    enabled: bool


class MaintainAgent(Message):
    """Maintenance of one agent."""

    id: str
    maintenance: Maintenance


class IssueAgentKey(Message):
    """A wish of the local operator identity: the bus agent of this id or name has this public nkey from now on."""

    agent: str
    public_key: Annotated[str, Field(pattern="^U[A-Z2-7]{55}$")]


class KeyedAgent(Message):
    """The agent that a key is for."""

    id: str
    name: str


class Turn(HttpMessage):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(max_length=100_000)]
    timestamp: Moment | None = None


class Dispatch(HttpMessage):
    """A message for an agent: a named one, or the one that is chosen among those that match."""

    message: Annotated[str, Field(min_length=1, max_length=100_000)] = Field(examples=["Hello"])
    agent_id: str | None = Field(default=None, max_length=64)
    model: ModelName | None = None
    tags: Tags = Field(default_factory=list)
    context: Annotated[list[Turn], Field(max_length=1000)] = Field(default_factory=list)
    session_id: SessionId | None = Field(default=None, examples=["new"])
    stream: bool = Field(
        default=False, description="Whether the answer comes as server-sent events `token`, `done` and `error`"
    )


class Usage(Message):
    """Tokens as the agent counted them; zero where it does not say."""

    prompt_tokens: int
    completion_tokens: int


AttemptOutcome = Literal["success", "failed", "timeout", "refused", "cancelled"]


class Attempt(Message):
    """One agent that was tried, and how that ended: `why` not with success. Only the last one can have succeeded."""

    agent_id: str
    agent_name: str
    outcome: AttemptOutcome
    why: str | None
    latency_ms: float


class Dispatched(Message):
    """An agent's answer."""

    request_id: str
    agent_id: str
    session_id: str | None
    message: str
    model: str
    tokens_used: int
    usage: Usage
    latency_ms: float
    attempts: list[Attempt]
    timestamp: Moment


class CircuitTold(Message):
    """An agent's circuit as a replica knows it. Of two, the one with the higher `number`, then `teller`, counts.

    `connection` tells circuits of the agent before and after it has moved elsewhere apart; `seconds` is how long it
    stays open, or until the trial is taken for lost.
    """

    agent_id: str
    connection: str
    number: int
    teller: str
    state: Literal["closed", "open", "half-open"]
    on_trial: bool
    failed_at_work: bool
    rounds: int
    seconds: float


class CircuitsTold(Message):
    """What one replica of the orchestrator tells the others."""

    teller: str
    circuits: list[CircuitTold]


REGISTER_AGENT = Contract("orchestrator.agent.register", RegisterAgent, Agent, Kind.CHANGE)
LIST_AGENTS = Contract("orchestrator.agent.list", ListAgents, Agents, Kind.READ)
GET_AGENT = Contract("orchestrator.agent.get", GetAgent, Agent, Kind.READ)
UPDATE_AGENT = Contract("orchestrator.agent.update", UpdateAgent, Agent, Kind.CHANGE)
MAINTAIN_AGENT = Contract("orchestrator.agent.maintain", MaintainAgent, Agent, Kind.CHANGE)
REMOVE_AGENT = Contract("orchestrator.agent.remove", GetAgent, Nothing, Kind.CHANGE)
ISSUE_AGENT_KEY = Contract("orchestrator.agent.issue_key", IssueAgentKey, KeyedAgent, Kind.CHANGE)
CHECK_AGENT = Contract("orchestrator.agent.check", GetAgent, AgentHealth, Kind.CHANGE)
DISPATCH = Contract("orchestrator.dispatch.run", Dispatch, Dispatched, Kind.DISPATCH)
STREAM_DISPATCH = Contract("orchestrator.dispatch.stream", Dispatch, Dispatched, Kind.STREAM)

AGENTS = "orchestrator.agent"
"""The name of the version that every change to the registry raises."""

LIMITS = "limits"
"""The name of the bucket of records with the limits of dispatch."""

CIRCUITS = "peanut.circuit.orchestrator"
"""Where replicas of the orchestrator tell each other of agents' circuits."""
