"""Several answers from an agent that can be asked for one at a time: it is asked several times at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from orchestrator.application.upstreams import Take, UpstreamFailure
from orchestrator.domain.chat import Chat, Completion, Piece

Ask = Callable[[Chat], Awaitable[Completion]]
AskStream = Callable[[Chat, Take], Awaitable[Completion]]


async def completed(chat: Chat, ask: Ask) -> Completion:
    """All answers as one; the first failure is that of all."""
    if chat.choices == 1:
        return await ask(chat)
    one = replace(chat, choices=1)
    return _merged(await _all([lambda: ask(one)] * chat.choices))


async def streamed(chat: Chat, take: Take, ask: AskStream) -> Completion:
    """All answers as one, each step with the index of its answer, and handed on one after the other."""
    if chat.choices == 1:
        return await ask(chat, take)
    one = replace(chat, choices=1)
    turn = asyncio.Lock()

    def answer(index: int) -> Callable[[], Awaitable[Completion]]:
        async def take_indexed(piece: Piece) -> None:
            if isinstance(piece, bytes):
                raise TypeError("bytes have no index")
            async with turn:
                await take([step._replace(choice=index) for step in piece])

        return lambda: ask(one, take_indexed)

    return _merged(await _all([answer(index) for index in range(chat.choices)]))


async def _all(calls: Sequence[Callable[[], Awaitable[Completion]]]) -> list[Completion]:
    """What comes of the calls; the first that fails ends the others and is raised."""
    failures: list[BaseException] = []
    begun = 0

    async def tried(call: Callable[[], Awaitable[Completion]]) -> Completion:
        nonlocal begun
        begun += 1
        try:
            return await call()
        except Exception as error:
            failures.append(error)
            raise

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(tried(call)) for call in calls]
    except ExceptionGroup:
        raise _first(failures, begun) from failures[0].__cause__
    return [task.result() for task in tasks]


def _first(failures: Sequence[BaseException], begun: int) -> BaseException:
    """The failure that came first. It cost nothing only if all that had begun failed so."""
    first = failures[0]
    if isinstance(first, UpstreamFailure):
        first.is_free = len(failures) == begun and all(
            isinstance(failure, UpstreamFailure) and failure.is_free for failure in failures
        )
    return first


def _merged(answers: Sequence[Completion]) -> Completion:
    return Completion(
        answers[0].text,
        sum(answer.prompt_tokens for answer in answers),
        sum(answer.completion_tokens for answer in answers),
        [{**choice, "index": index} for index, answer in enumerate(answers) for choice in answer.choices],
    )
