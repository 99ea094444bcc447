"""Queries: pages of the log, each with what can be said of the whole log at that moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from audit.application.inspection import Findings, Found, Question, look
from audit.application.knowledge import Knowledge, Status
from audit.application.ports import LogDamaged, LogReader, LogUnavailable, Workshop
from audit.application.scrubbing import Scrubber
from shared.principal import Principal, Role

FIRST_PASS_WITHIN_S = 3.0
"""How long a query waits for the first verification of a long log before it says that it still runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A page and the integrity of the log it comes from."""

    found: Found
    status: Status
    verified: int
    scrub_age: float | None
    first_bad: int | None
    checkpoint: str | None


class Queries:
    """Answers operators."""

    def __init__(self, reader: LogReader, knowledge: Knowledge, workshop: Workshop, scrubber: Scrubber) -> None:
        self._reader = reader
        self._knowledge = knowledge
        self._workshop = workshop
        self._scrubber = scrubber
        self._ordinary = _Lane(self._look)
        self._full = _Lane(self._look_at_all)

    async def find(self, question: Question, caller: Principal, *, full: bool = False) -> Answer:
        """The page, verified as far as the design of the log promises; with `full`, the whole log now.

        Raises Forbidden below operator, LogUnavailable when the log cannot be read.
        """
        caller.must_be(Role.OPERATOR)
        if full:
            return await self._full.ask(question)
        until = time.monotonic() + FIRST_PASS_WITHIN_S
        answer = await self._ordinary.ask(question)
        while answer.status is Status.VERIFYING and time.monotonic() < until:
            await asyncio.sleep(0.1)
            answer = await self._ordinary.ask(question)
        return answer

    async def _look_at_all(self, questions: list[Question]) -> list[Answer]:
        await self._scrubber.scrub()
        return await self._look(questions)

    async def _look(self, questions: list[Question]) -> list[Answer]:
        began = time.monotonic()
        known = self._knowledge
        try:
            findings = await self._workshop.do(partial(look, self._reader, questions, known.known))
        except LogDamaged as error:
            known.found_bad(0)
            raise LogUnavailable("The audit log is damaged and cannot be read.") from error
        known.learn(findings, began=began)
        return [self._answer(found, findings) for found in findings.found]

    def _answer(self, found: Found, findings: Findings) -> Answer:
        known = self._knowledge
        is_verifying = findings.behind or known.status is Status.VERIFYING
        verified = self._scrubber.verified if is_verifying else findings.prefix.size
        return Answer(
            found=found,
            status=Status.VERIFYING if is_verifying and known.first_bad is None else known.status,
            verified=verified if known.first_bad is None else min(verified, known.first_bad),
            scrub_age=known.scrub_age,
            first_bad=known.first_bad,
            checkpoint=findings.newest.note if findings.newest else None,
        )


class _Lane:
    """One run at a time; who asks while one runs shares the next: each answer is of a moment after its question."""

    def __init__(self, run: Callable[[list[Question]], Awaitable[list[Answer]]]) -> None:
        self._run = run
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run_all())
        return await answer

    async def _run_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                answers = await self._run([question for question, _ in waiting])
            except Exception as error:
                for _, future in waiting:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(waiting, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
