"""Agents that connect to the bus themselves, each with a key of its own. What they are told is docs/bus-agents.md."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import takewhile
from typing import Any

import orjson

from orchestrator.application.upstreams import Take, UpstreamFailure, UpstreamRefusal, UpstreamTimeout
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Chat, Completion, Embeddings, Inputs
from orchestrator.infrastructure.bus_answers import (
    NotUnderstood,
    StreamedAnswer,
    completion_of,
    deltas_of,
    embeddings_of,
)
from shared.bus import Bus, NoResponder, OutcomeUnknown, Said, Talk, TalkedTooMuch
from shared.clock import unix_ms
from shared.contracts.bus_agents import DEADLINE, ERROR, ERROR_CODE, REFUSED, SEQUENCE, agent_subject
from shared.errors import TooLarge, Unavailable

MAX_ANSWER = 4 * 1024 * 1024
MAX_MESSAGE = 1024 * 1024
MAX_WORDS = 200
LOOK_EVERY_S = 2.0
"""How often it is looked whether an agent that works is still connected."""
LOOKS_IN_VAIN = 2
"""After how many in a row it is taken for gone: a connection that broke is back sooner."""


class NotConnected(UpstreamFailure):
    """No process of the agent is on the bus."""

    def __init__(self) -> None:
        super().__init__("it is not connected to the bus", is_free=True)


class BusAgents:
    """The upstream of the type `bus`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def complete(self, agent: Agent, chat: Chat, *, within_s: float) -> Completion:
        """See Upstream."""
        async with self._asked(agent, "chat", _chat_request(agent, chat), within_s) as call:
            answer = await call.answer()
        with _understood():
            return completion_of(answer)

    async def stream(self, agent: Agent, chat: Chat, take: Take, *, within_s: float, silence_s: float) -> Completion:
        """See Upstream. Who answers a request for a stream with one whole answer has its pieces made of that."""
        streamed = StreamedAnswer()
        async with self._asked(agent, "chat", _chat_request(agent, chat, stream=True), within_s) as call:
            while not streamed.has_ended:
                said = await call.heard(silence_s)
                if not streamed.has_begun and SEQUENCE not in said[0].headers:
                    call.is_over = True
                    with _understood():
                        completion = completion_of(said[0].body)
                    await take(deltas_of(completion))
                    return Completion(completion.text, completion.prompt_tokens, completion.completion_tokens)
                with _understood():
                    deltas = streamed.add(said)
                call.is_over = call.is_over or streamed.has_ended
                if deltas:
                    await take(deltas)
        return streamed.completion

    async def embed(self, agent: Agent, inputs: Inputs, *, within_s: float) -> Embeddings:
        """See Upstream."""
        request = {**inputs.options, "model": agent.model, "input": inputs.inputs, "encoding_format": "float"}
        try:
            async with self._asked(agent, "embeddings", request, within_s) as call:
                answer = await call.answer()
        except NotConnected:
            await self.probe(agent, within_s=within_s)
            raise UpstreamRefusal("it makes no embeddings", is_free=True, is_callers=True) from None
        with _understood():
            return embeddings_of(answer, inputs=len(inputs.inputs))

    async def probe(self, agent: Agent, *, within_s: float) -> str:
        """Asks whether it is there; raises UpstreamFailure. No process of it on the bus is known at once."""
        with _told():
            async with self._talk(agent, "probe", b"", within_s) as talk:
                await _Call(talk, within_s).answer()
        return "Answers."

    @asynccontextmanager
    async def _asked(
        self, agent: Agent, verb: str, request: Mapping[str, Any], within_s: float
    ) -> AsyncIterator["_Call"]:
        """A call under way. An agent whose answer nobody waits for any more is told so."""
        with _told():
            async with self._talk(agent, verb, orjson.dumps(request), within_s) as talk:
                call = _Call(talk, within_s)
                watch = asyncio.create_task(self._watch(agent, talk))
                try:
                    yield call
                finally:
                    watch.cancel()
                    if not call.is_over:
                        await self._bus.publish(agent_subject(agent.id, "cancel"), talk.reply.encode())

    @asynccontextmanager
    async def _talk(self, agent: Agent, verb: str, body: bytes, within_s: float) -> AsyncIterator[Talk]:
        headers = {DEADLINE: str(unix_ms() + int(within_s * 1000))}
        subject = agent_subject(agent.id, verb)
        async with self._bus.talk(
            subject, body, headers, who=agent.id, max_message=MAX_MESSAGE, max_bytes=MAX_ANSWER
        ) as talk:
            yield talk

    async def _watch(self, agent: Agent, talk: Talk) -> None:
        """Ends a talk whose agent has left the bus, which nobody else would tell."""
        in_vain = 0
        while in_vain < LOOKS_IN_VAIN:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.probe(agent, within_s=LOOK_EVERY_S)
                in_vain = 0
            except NotConnected:
                in_vain += 1
            except UpstreamFailure:
                in_vain = 0  # it is busy, or the bus is
        talk.end(UpstreamFailure("it has left the bus in the middle of it"))


class _Call:
    """What one call brings."""

    def __init__(self, talk: Talk, within_s: float) -> None:
        self.is_over = False
        """Whether the agent has nothing more to say."""
        self._talk = talk
        self._loop = asyncio.get_running_loop()
        self._until_s = self._loop.time() + within_s
        self._has_heard = False
        self._failed: Said | None = None

    async def answer(self) -> bytes:
        """The one message that is the answer; another one is not listened to."""
        said = await self.heard(float("inf"))
        self.is_over = True
        return said[0].body

    async def heard(self, silence_s: float) -> list[Said]:
        """What the agent has said since; its failure is raised once all before it was handed out."""
        said = [self._failed] if self._failed else await self._waited_for(silence_s)
        good = list(takewhile(lambda one: ERROR not in one.headers, said))
        if len(good) < len(said):
            self.is_over = True
            self._failed = said[len(good)]
            if not good:
                raise _failure_of(self._failed, is_free=not self._has_heard)
        self._has_heard = True
        return good

    async def _waited_for(self, silence_s: float) -> list[Said]:
        until_s = min(self._loop.time() + silence_s, self._until_s)
        try:
            async with asyncio.timeout_at(until_s):
                return await self._talk.heard()
        except TimeoutError as error:
            words = "no answer in time" if until_s == self._until_s else f"nothing new came for {silence_s:g} s"
            raise UpstreamTimeout(words) from error
        except NoResponder as error:
            self.is_over = True
            raise NotConnected from error


def _chat_request(agent: Agent, chat: Chat, *, stream: bool = False) -> dict[str, Any]:
    """OpenAI's request. What the agent may use at most holds for whatever its caller wishes."""
    request = {"temperature": agent.temperature, **chat.options, "model": agent.model, "messages": chat.messages}
    limit = "max_completion_tokens" if "max_completion_tokens" in chat.options else "max_tokens"
    request[limit] = min(chat.options.get(limit, agent.max_tokens), agent.max_tokens)
    if chat.choices > 1:
        request["n"] = chat.choices
    return {**request, "stream": True, "stream_options": {"include_usage": True}} if stream else request


def _failure_of(said: Said, *, is_free: bool) -> UpstreamFailure:
    """What the agent itself says of how it failed."""
    told = " ".join(said.headers[ERROR].split())
    told = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in told)
    words = f"it says: {told[:MAX_WORDS].rstrip('.')}" if told else "it does not say why"
    if said.headers.get(ERROR_CODE) == REFUSED:
        return UpstreamRefusal(words, is_free=is_free, is_callers=True)
    return UpstreamFailure(words, is_free=is_free)


@contextmanager
def _told() -> Iterator[None]:
    """What the bus says of a talk, as what became of the agent's work."""
    try:
        yield
    except TooLarge as error:
        raise UpstreamRefusal("the request is too large for the bus", is_free=True, is_callers=True) from error
    except TalkedTooMuch as error:
        words = f"its answer is larger than {MAX_ANSWER >> 20} MiB, or a message of it than {MAX_MESSAGE >> 20}"
        raise UpstreamFailure(words) from error
    except OutcomeUnknown as error:
        raise UpstreamFailure("the bus broke while it worked") from error
    except Unavailable as error:
        raise UpstreamFailure("the bus is not reachable", is_free=True) from error


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except NotUnderstood as error:
        raise UpstreamFailure(str(error)) from error
