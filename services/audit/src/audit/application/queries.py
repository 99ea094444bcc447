"""Queries: pages of the log, each with what can be said of the whole log at that moment."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from audit.application.inspection import Counted, Findings, Found, Question, look
from audit.application.knowledge import Knowledge, Status
from audit.application.ports import Filters, LogDamaged, LogReader, LogUnavailable, Workshop
from audit.application.scrubbing import Scrubber
from shared.principal import Principal, Role

FIRST_PASS_WITHIN_S = 3.0
"""How long a query waits for the first verification of a long log before it says that it still runs."""
NEARLY_VERIFIED = 50_000
"""If more entries than these are left, a query does not wait for them."""
MAX_TOTALS = 1024


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
        self._totals = _Totals()
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
        while self._is_nearly_verified(answer) and time.monotonic() < until:
            await asyncio.sleep(0.1)
            answer = await self._ordinary.ask(question)
        return answer

    def _is_nearly_verified(self, answer: Answer) -> bool:
        left = self._knowledge.seen.index + 1 - answer.verified
        return answer.status is Status.VERIFYING and left <= NEARLY_VERIFIED

    async def _look_at_all(self, questions: list[Question]) -> list[Answer]:
        await self._scrubber.scrub()
        return await self._look(questions)

    async def _look(self, questions: list[Question]) -> list[Answer]:
        began = time.monotonic()
        known = self._knowledge
        questions = [replace(question, counted=self._totals.of(question.filters)) for question in questions]
        try:
            findings = await self._workshop.do(partial(look, self._reader, questions, known.known))
        except LogDamaged as error:
            known.found_bad(0)
            raise LogUnavailable("The audit log is damaged and cannot be read.") from error
        known.learn(findings, began=began)
        if known.first_bad is None:
            for question, found in zip(questions, findings.found, strict=True):
                self._totals.keep(question.filters, found.counted)
        else:
            self._totals = _Totals()
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


class _Totals:
    """What was counted lately: a filter that most entries match takes 100 ms to count in 1,000,000."""

    def __init__(self) -> None:
        self._counted: OrderedDict[Filters, Counted] = OrderedDict()

    def of(self, filters: Filters) -> Counted:
        """What is known already; nothing, mostly."""
        return self._counted.get(filters, Counted())

    def keep(self, filters: Filters, counted: Counted) -> None:
        """Keeps it, and forgets the one that was not asked for the longest time."""
        self._counted[filters] = counted
        self._counted.move_to_end(filters)
        if len(self._counted) > MAX_TOTALS:
            self._counted.popitem(last=False)


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
