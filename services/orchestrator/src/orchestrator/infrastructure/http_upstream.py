"""Upstreams over HTTP: agents whose servers speak some dialect."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import orjson

from orchestrator.application.upstreams import Take, UpstreamFailure, UpstreamRefusal, UpstreamTimeout
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Chat, Completion, Embeddings, Inputs, Piece
from orchestrator.domain.endpoint import EndpointNotAllowed
from orchestrator.infrastructure.dialects.dialect import Dialect
from orchestrator.infrastructure.dialects.embeddings import embeddings_in
from orchestrator.infrastructure.dialects.options import NOT_OPENAIS, cannot
from orchestrator.infrastructure.dialects.parts import NOT_UNDERSTOOD
from orchestrator.infrastructure.dialects.reading import MAX_STREAM_BYTES, NO_MODELS_ANSWER, Reading, steps_of
from orchestrator.infrastructure.endpoint_guard import parse_endpoint
from orchestrator.infrastructure.guarded_http import GuardedHttp, LargeAnswer, OpenAnswer
from orchestrator.infrastructure.http_refusals import failure_of, refused_fields
from orchestrator.infrastructure.remembering import remember
from orchestrator.infrastructure.sealed_secrets import SealBroken, SealedSecrets
from orchestrator.infrastructure.side_by_side import completed, streamed
from orchestrator.infrastructure.silence import Silence

MAX_PAGES = 10
READ_AT_ONCE_BYTES = 4 * 1024
"""Of what has arrived of a stream, so much is read before it is handed on: a token read takes ten times as much."""
LINGER_S = 0.05
"""How long the end of a stream is waited for after the end of the answer: the connection can then be used again."""


class HttpUpstream:
    """Agents that are reached over HTTP and speak `dialect`."""

    def __init__(self, http: GuardedHttp, secrets: SealedSecrets, dialect: Dialect) -> None:
        self._http = http
        self._secrets = secrets
        self._dialect = dialect
        self._refused: dict[tuple[str | None, str], frozenset[str]] = {}

    async def complete(self, agent: Agent, chat: Chat, *, within_s: float) -> Completion:
        """Has the agent answer the chat; raises UpstreamFailure."""
        until = asyncio.get_running_loop().time() + within_s
        if chat.choices == 1 or self._dialect.knows_choices:
            return await self._completed(agent, chat, until)
        return await completed(chat, lambda one: self._completed(agent, one, until))

    async def stream(self, agent: Agent, chat: Chat, take: Take, *, within_s: float, silence_s: float) -> Completion:
        """Has the agent answer the chat in a stream; raises UpstreamFailure and what `take` does."""
        until = asyncio.get_running_loop().time() + within_s
        if chat.choices == 1 or self._dialect.knows_choices:
            return await self._streamed(agent, chat, take, until, silence_s)
        return await streamed(chat, take, lambda one, take: self._streamed(agent, one, take, until, silence_s))

    async def embed(self, agent: Agent, inputs: Inputs, *, within_s: float) -> Embeddings:
        """Has the agent say where texts are in its space; raises UpstreamFailure."""
        dialect = self._dialect.embeddings
        if dialect is None:
            raise cannot(f"{agent.type} agents have no embeddings")
        until = asyncio.get_running_loop().time() + within_s
        key = self._key(agent)
        body, headers = dialect.request(agent, inputs), self._dialect.headers(key)
        with await self._http.open(
            "POST", agent.endpoint or "", dialect.path, body=body, headers=headers, until=until
        ) as answer:
            try:
                told = await answer.read()
            except LargeAnswer as error:
                raise UpstreamRefusal(f"{error.words}; ask for fewer embeddings at once", is_callers=True) from error
        if not 200 <= answer.status < 300:
            raise failure_of(answer.status, told, key)
        return embeddings_in(told, dialect, inputs)

    async def probe(self, agent: Agent, *, within_s: float) -> str:
        """Asks for the agent's models; raises UpstreamFailure.

        Where servers need not tell them, whatever they answer shows that they are there, but a failure and what says
        that work would be refused too.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        headers, path = self._dialect.headers(self._key(agent)), self._dialect.models_path
        for _ in range(MAX_PAGES):
            answer = await self._http.send(
                "GET", agent.endpoint or "", path, headers=headers, within_s=until - loop.time()
            )
            if not self._dialect.always_lists_models and 400 <= answer.status < 500 and answer.status not in (401, 403):
                return f"Answers, but does not tell its models (HTTP {answer.status})."
            if not 200 <= answer.status < 300:
                raise failure_of(answer.status, b"", None)
            try:
                page = self._dialect.models(orjson.loads(answer.body))
            except NOT_UNDERSTOOD as error:
                if not self._dialect.always_lists_models:
                    return "Answers, but not with a list of models."
                raise UpstreamFailure("it does not answer with a list of models") from error
            if agent.model in page.names:
                return "Answers."
            if page.next_path is None:
                break
            path = page.next_path
        return f"Answers, but does not list the model {agent.model}."

    async def _completed(self, agent: Agent, chat: Chat, until: float) -> Completion:
        with await self._opened(agent, chat, until, streams=False) as answer:
            return self._completion(await answer.read(), chat)

    async def _streamed(self, agent: Agent, chat: Chat, take: Take, until: float, silence_s: float) -> Completion:
        try:
            async with asyncio.timeout(silence_s):
                answer = await self._opened(agent, chat, until, streams=True)
        except TimeoutError as error:
            raise UpstreamTimeout("no answer in time") from error
        with answer, Silence(answer, silence_s) as silence:
            if answer.media_type == b"application/json" and not self._dialect.streams_json:
                silence.begins()
                completion = self._completion(await answer.read(), chat)
                silence.ends()
                await take(steps_of(completion))
                return replace(completion, choices=(), body=None)
            reading = self._dialect.reading(chat)
            await _hand_on(answer, reading, take, silence)
            return reading.completion()

    async def _opened(self, agent: Agent, chat: Chat, until: float, *, streams: bool) -> OpenAnswer:
        """The answer, whose status is 2xx, to a request without the fields that the agent's model refuses."""
        dialect, key = self._dialect, self._key(agent)
        headers, place = dialect.headers(key), (agent.endpoint, agent.model)
        refused = self._refused.get(place, frozenset())
        while True:
            try:
                body = dialect.request(agent, chat, refused, streams=streams)
            except NOT_UNDERSTOOD as error:
                raise cannot(NOT_OPENAIS) from error
            answer = await self._http.open(
                "POST", agent.endpoint or "", dialect.chat_path, body=body, headers=headers, until=until
            )
            if 200 <= answer.status < 300:
                return answer
            with answer:
                told = await answer.read()
            fields = refused_fields(answer.status, told, dialect.dispensable - refused)
            if not fields:
                raise failure_of(answer.status, told, key)
            refused |= fields
            remember(self._refused, place, refused)

    def _completion(self, body: bytes, chat: Chat) -> Completion:
        try:
            return self._dialect.completion(body, chat)
        except NOT_UNDERSTOOD as error:
            raise UpstreamFailure(NO_MODELS_ANSWER) from error

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


async def _hand_on(answer: OpenAnswer, reading: Reading, take: Take, silence: Silence) -> None:
    """Hands on what arrives, until the answer is complete or there is no more."""
    size = 0
    while not reading.is_over:
        silence.begins()
        piece = await answer.read_piece()
        size += len(piece)
        if size > MAX_STREAM_BYTES:
            raise UpstreamFailure(f"its answer is larger than {MAX_STREAM_BYTES // 1024 // 1024} MiB")
        for begin in range(0, len(piece) or 1, READ_AT_ONCE_BYTES):
            arrived = _read(reading, piece[begin : begin + READ_AT_ONCE_BYTES])
            if arrived is not None:
                silence.ends()
            if arrived:
                await take(arrived)
        if not piece:
            return
    with suppress(UpstreamFailure, TimeoutError):
        async with asyncio.timeout(LINGER_S):
            await answer.read_piece()


def _read(reading: Reading, piece: bytes) -> Piece | None:
    try:
        return reading.feed(piece) if piece else reading.rest()
    except NOT_UNDERSTOOD as error:
        raise UpstreamFailure(NO_MODELS_ANSWER) from error
