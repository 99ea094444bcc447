"""Upstreams by type: what is reached over HTTP in some dialect, the echo, and Kilo, which is not reached yet."""

import asyncio
import re
from collections.abc import Collection

import orjson

from orchestrator.application.upstreams import Take, UpstreamFailure, UpstreamRefusal
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Chat, Completion, Delta, Embeddings, Inputs
from orchestrator.domain.endpoint import EndpointNotAllowed
from orchestrator.infrastructure.dialects.dialect import Dialect, Headers
from orchestrator.infrastructure.endpoint_guard import parse_endpoint
from orchestrator.infrastructure.guarded_http import GuardedHttp, HttpAnswer
from orchestrator.infrastructure.sealed_secrets import SealBroken, SealedSecrets

MAX_PAGES = 10
MAX_REMEMBERED = 1024
NO_BRIDGE = "Kilo is reached through kilo-bridge, which this version does not have"

_NOT_UNDERSTOOD = (ValueError, LookupError, TypeError, AttributeError)
_UNSUPPORTED = re.compile("deprecated|unsupported|not support", re.IGNORECASE)
_LIKELY_REASONS = {
    400: "so something about the conversation or the agent's model, maxTokens or temperature is wrong for it",
    401: "so it does not accept its API key or the lack of one",
    402: "so it wants to be paid first",
    403: "so it does not accept its API key or the lack of one",
    404: "so its endpoint's path is wrong or it does not know the model",
    413: "so the conversation is too large for it",
    429: "so it had too many requests or its quota is used up",
    529: "so it is overloaded",
}


class _Unstreamed:
    async def complete(self, agent: Agent, chat: Chat, *, within_s: float) -> Completion:
        raise NotImplementedError

    async def stream(self, agent: Agent, chat: Chat, take: Take, *, within_s: float, silence_s: float) -> Completion:
        """The whole answer as one piece."""
        completion = await self.complete(agent, chat, within_s=within_s)
        await take([Delta(0, {"content": completion.text})])
        return completion

    async def embed(self, agent: Agent, inputs: Inputs, *, within_s: float) -> Embeddings:
        """Raises UpstreamFailure."""
        raise UpstreamFailure("it makes no embeddings", is_free=True)


class HttpUpstream(_Unstreamed):
    """Agents that are reached over HTTP and speak `dialect`."""

    def __init__(self, http: GuardedHttp, secrets: SealedSecrets, dialect: Dialect) -> None:
        self._http = http
        self._secrets = secrets
        self._dialect = dialect
        self._refused: dict[tuple[str | None, str], frozenset[str]] = {}

    async def complete(self, agent: Agent, chat: Chat, *, within_s: float) -> Completion:
        """Has the agent answer the conversation; raises UpstreamFailure."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        headers, place = self._headers(agent), (agent.endpoint, agent.model)
        refused = self._refused.get(place, frozenset())
        while True:
            body = self._dialect.request(agent, chat.messages, refused)
            path, left_s = self._dialect.chat_path, until - loop.time()
            answer = await self._http.send(
                "POST", agent.endpoint or "", path, body=body, headers=headers, within_s=left_s
            )
            fields = _refused_fields(answer, self._dialect.dispensable - refused)
            if not fields:
                break
            refused |= fields
            self._remember(place, refused)
        _require_success(answer)
        try:
            return self._dialect.completion(orjson.loads(answer.body))
        except _NOT_UNDERSTOOD as error:
            raise UpstreamFailure("its answer is not that of a model") from error

    async def probe(self, agent: Agent, *, within_s: float) -> str:
        """Asks for the agent's models; raises UpstreamFailure.

        Where servers need not tell them, whatever they answer shows that they are there, but a failure and what says
        that work would be refused too.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        headers, path = self._headers(agent), self._dialect.models_path
        for _ in range(MAX_PAGES):
            answer = await self._http.send(
                "GET", agent.endpoint or "", path, headers=headers, within_s=until - loop.time()
            )
            if not self._dialect.always_lists_models and 400 <= answer.status < 500 and answer.status not in (401, 403):
                return f"Answers, but does not tell its models (HTTP {answer.status})."
            _require_success(answer)
            try:
                page = self._dialect.models(orjson.loads(answer.body))
            except _NOT_UNDERSTOOD as error:
                if not self._dialect.always_lists_models:
                    return "Answers, but not with a list of models."
                raise UpstreamFailure("it does not answer with a list of models") from error
            if agent.model in page.names:
                return "Answers."
            if page.next_path is None:
                break
            path = page.next_path
        return f"Answers, but does not list the model {agent.model}."

    def _remember(self, place: tuple[str | None, str], refused: frozenset[str]) -> None:
        self._refused.pop(place, None)
        self._refused[place] = refused
        if len(self._refused) > MAX_REMEMBERED:
            del self._refused[next(iter(self._refused))]

    def _headers(self, agent: Agent) -> Headers:
        return self._dialect.headers(self._key(agent))

    def _key(self, agent: Agent) -> str | None:
        if agent.sealed_key is None:
            return None
        try:
            return self._secrets.open(agent.id, parse_endpoint(agent.endpoint or "").origin, agent.sealed_key)
        except EndpointNotAllowed as error:
            raise UpstreamFailure(f"its endpoint is not allowed, as {error.why}", is_free=True) from error
        except SealBroken as error:
            words = "its API key was sealed with another AGENT_ENCRYPTION_KEY or for another endpoint; set it again"
            raise UpstreamFailure(words, is_free=True) from error


class Echo(_Unstreamed):
    """The built-in agent, which answers with the last message: for a first try, and for tests of everything else."""

    async def complete(self, agent: Agent, chat: Chat, *, within_s: float) -> Completion:
        """The last message. A token is counted as a word."""
        text = str(chat.messages[-1]["content"])
        return Completion(text, sum(len(turn["content"].split()) for turn in chat.messages), len(text.split()))

    async def probe(self, agent: Agent, *, within_s: float) -> str:
        """It is always there."""
        return "Built in; always there."


class Kilo(_Unstreamed):
    """Kilo is reached through a bridge, and this version has none."""

    async def complete(self, agent: Agent, chat: Chat, *, within_s: float) -> Completion:
        """Raises UpstreamFailure."""
        raise UpstreamFailure(NO_BRIDGE, is_free=True)

    async def probe(self, agent: Agent, *, within_s: float) -> str:
        """Raises UpstreamFailure."""
        raise UpstreamFailure(NO_BRIDGE, is_free=True)


def _refused_fields(answer: HttpAnswer, dispensable: Collection[str]) -> frozenset[str]:
    """The dispensable fields of a request that its answer says are not supported."""
    if answer.status != 400 or not dispensable:
        return frozenset()
    try:
        error = orjson.loads(answer.body)["error"]
        words = f"{error.get('code')} {error['message']}"
    except _NOT_UNDERSTOOD:
        return frozenset()
    if not _UNSUPPORTED.search(words):
        return frozenset()
    return frozenset(field for field in dispensable if error.get("param") == field or re.search(rf"\b{field}\b", words))


def _require_success(answer: HttpAnswer) -> None:
    status = answer.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise UpstreamFailure(f"HTTP {status}, and redirects are not followed", is_free=True)
    reason = _LIKELY_REASONS.get(status)
    words = f"HTTP {status}" if reason is None else f"HTTP {status}, {reason}"
    if 400 <= status < 500:
        raise UpstreamRefusal(words, is_free=True)
    raise UpstreamFailure(words, is_free=True)
