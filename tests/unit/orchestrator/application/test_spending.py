"""What a call is taken to have used of its key's day, whether its agent tells that or not."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, cast

import pytest

from orchestrator.application.limiting import Reservation, Reserved, ReservedSpending, TokenBudgets
from orchestrator.domain.budget import Account
from orchestrator.domain.chat import Completion, Delta, likely_tokens_of

PROMPT = ["x" * 40]
"""Ten tokens, as far as can be told."""
ARGUMENTS = "y" * 393
"""A hundred tokens with the name of the function."""
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": ARGUMENTS}}
MESSAGE = {"role": "assistant", "content": None, "tool_calls": [CALL]}
CALLED: list[Any] = [{"index": 0, "message": MESSAGE, "finish_reason": "tool_calls"}]


@dataclass
class Budgets:
    """Keeps what was settled."""

    used: list[int] = field(default_factory=list)

    def settle(self, _reservation: Reservation, used: int) -> None:
        self.used.append(used)


@pytest.fixture
def budgets() -> Budgets:
    return Budgets()


@pytest.fixture
def spending(budgets: Budgets) -> ReservedSpending:
    until = datetime(2026, 11, 23, tzinfo=UTC)
    reservation = Reservation(Account("k", date(2026, 11, 22)), 5000, 1000, until)
    return ReservedSpending(PROMPT, cast(TokenBudgets, budgets), Reserved(reservation, 4000, 60, 60), reservation)


@pytest.mark.parametrize(
    ("answer", "used"),
    [
        (Completion("", 7, 3, CALLED), 10),
        (Completion("", 0, 0, CALLED), 110),
        (Completion("", 7, 0, CALLED), 107),
        (Completion("", 0, 3, CALLED), 13),
        (Completion("z" * 40, 0, 0), 20),
    ],
)
def test_what_is_not_told_is_estimated_calls_of_tools_like_texts(
    answer: Completion, used: int, spending: ReservedSpending, budgets: Budgets
) -> None:
    spending.begin()
    spending.answered(answer)
    spending.end()

    assert budgets.used == [used]


@pytest.mark.parametrize(("told", "used"), [((7, 3), 10), ((0, 0), 110), ((7, 0), 107)])
def test_calls_that_were_streamed_count_as_what_was_heard_of_them(
    told: tuple[int, int], used: int, spending: ReservedSpending, budgets: Budgets
) -> None:
    spending.begin()
    spending.heard(likely_tokens_of([Delta(0, {"tool_calls": [{"index": 0, **CALL}]}, "tool_calls")]))
    spending.answered(Completion("", *told))
    spending.end()

    assert budgets.used == [used]
