"""Work beside a block."""

import asyncio

import pytest

from shared.background import beside


class Work:
    """Goes on for ever, and takes its time to clean up."""

    def __init__(self) -> None:
        self.story: list[str] = []

    async def __call__(self) -> None:
        self.story.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            self.story.append("cleaned up")


@pytest.fixture
def work() -> Work:
    return Work()


async def test_it_begins_with_the_block_and_is_over_after_it(work: Work) -> None:
    async with beside(work):
        await asyncio.sleep(0)
        during = list(work.story)

    assert (during, work.story) == (["begun"], ["begun", "cleaned up"])


async def test_a_block_that_raises_ends_it_too(work: Work) -> None:
    async def fail() -> None:
        async with beside(work):
            await asyncio.sleep(0)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()

    assert work.story == ["begun", "cleaned up"]


async def test_work_that_is_done_before_the_block_is_no_trouble() -> None:
    async with beside(lambda: asyncio.sleep(0)):
        await asyncio.sleep(0.01)
