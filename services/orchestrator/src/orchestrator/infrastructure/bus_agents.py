"""Agents that connect to the bus themselves, each with a key of its own. What they are told is docs/bus-agents.md."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import takewhile

from orchestrator.application.upstreams import Take, UpstreamFailure, UpstreamRefusal, UpstreamTimeout
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Chat, Completion, Embeddings, Inputs
from orchestrator.infrastructure.bus_answers import StreamedAnswer
from orchestrator.infrastructure.dialects.embeddings import OpenAiEmbeddings, embeddings_in
from orchestrator.infrastructure.dialects.openai import OpenAi
from orchestrator.infrastructure.dialects.options import NOT_OPENAIS, cannot
from orchestrator.infrastructure.dialects.parts import NOT_UNDERSTOOD
from orchestrator.infrastructure.dialects.reading import MAX_STREAM_BYTES, NO_MODELS_ANSWER, steps_of
from shared.bus import Bus, NoResponder, OutcomeUnknown, Said, Talk, TalkedTooMuch
from shared.clock import unix_ms
from shared.contracts.bus_agents import DEADLINE, ERROR, ERROR_CODE, REFUSED, SEQUENCE, agent_subject
from shared.errors import TooLarge, Unavailable

MAX_UNREAD = 4 * 1024 * 1024
"""Bytes that may have come and not been read yet, and so of any message."""
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
        self._dialect = OpenAi()
        self._embeddings = OpenAiEmbeddings()

    async def complete(self, agent: Agent, chat: Chat, *, within_s: float) -> Completion:
        """See Upstream."""
        async with self._asked(agent, "chat", self._request(agent, chat, streams=False), within_s) as call:
            answer = await call.answer()
        return self._completion(answer, chat)

    async def stream(self, agent: Agent, chat: Chat, take: Take, *, within_s: float, silence_s: float) -> Completion:
        """See Upstream. Who answers a request for a stream with one whole answer has its pieces made of that."""
        streamed, size = StreamedAnswer(chat), 0
        async with self._asked(agent, "chat", self._request(agent, chat, streams=True), within_s) as call:
            while not streamed.has_ended:
                said = await call.heard(silence_s)
                if not streamed.has_begun and SEQUENCE not in said[0].headers:
                    call.is_over = True
                    completion = self._completion(said[0].body, chat)
                    await take(steps_of(completion))
                    return replace(completion, choices=(), body=None)
                size += sum(len(one.body) for one in said)
                if size > MAX_STREAM_BYTES:
                    raise UpstreamFailure(f"its answer is larger than {MAX_STREAM_BYTES >> 20} MiB")
                with _understood():
                    steps = streamed.add(said)
                call.is_over = call.is_over or streamed.has_ended
                if steps:
                    await take(steps)
        return streamed.completion()

    async def embed(self, agent: Agent, inputs: Inputs, *, within_s: float) -> Embeddings:
        """See Upstream."""
        request = self._embeddings.request(agent, inputs)
        try:
            async with self._asked(agent, "embeddings", request, within_s) as call:
                answer = await call.answer()
        except NotConnected:
            await self.probe(agent, within_s=within_s)
            raise UpstreamRefusal("it makes no embeddings", is_free=True, is_callers=True) from None
        return embeddings_in(answer, self._embeddings, inputs)

    async def probe(self, agent: Agent, *, within_s: float) -> str:
        """Asks whether it is there; raises UpstreamFailure. No process of it on the bus is known at once."""
        async with self._talk(agent, "probe", b"", within_s) as talk:
            await _Call(talk, within_s).answer()
        return "Answers."

    def _request(self, agent: Agent, chat: Chat, *, streams: bool) -> bytes:
        try:
            return self._dialect.request(agent, chat, (), streams=streams)
        except NOT_UNDERSTOOD as error:
            raise cannot(NOT_OPENAIS) from error

    def _completion(self, answer: bytes, chat: Chat) -> Completion:
        with _understood():
            return self._dialect.completion(answer, chat)

    @asynccontextmanager
    async def _asked(self, agent: Agent, verb: str, request: bytes, within_s: float) -> AsyncIterator["_Call"]:
        """A call under way. An agent whose answer nobody waits for any more is told so."""
        async with self._talk(agent, verb, request, within_s) as talk:
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
        async with AsyncExitStack() as stack:
            with _told():  # and not around the block: what that raises is not said of the talk
                talking = self._bus.talk(subject, body, headers, who=agent.id, max_unread=MAX_UNREAD)
                talk = await stack.enter_async_context(talking)
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
        with _told():
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
        raise UpstreamFailure(f"more than {MAX_UNREAD >> 20} MiB came of its answer at once") from error
    except OutcomeUnknown as error:
        raise UpstreamFailure("the bus broke while it worked") from error
    except Unavailable as error:
        raise UpstreamFailure("the bus is not reachable", is_free=True) from error


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except NOT_UNDERSTOOD as error:
        raise UpstreamFailure(NO_MODELS_ANSWER) from error
