"""The few threads that read: how many may wait for one, and that a place that was taken is given back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from bus.errors import TransientError
from bus.gateway.threads import Threads


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(most_waiting=2)
    yield made
    made.close()


def test_who_comes_when_too_many_wait_is_told_to_come_later(threads: Threads) -> None:
    async def crowd() -> str:
        may_end = threading.Event()
        first = [asyncio.create_task(threads.do(may_end.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        try:
            with pytest.raises(TransientError) as busy:
                await threads.do(lambda: None)
        finally:
            may_end.set()
            await asyncio.gather(*first)
        return busy.value.code

    assert asyncio.run(crowd()) == "busy"


def test_a_place_is_free_again_after_the_work_and_after_its_failure(threads: Threads) -> None:
    def fails() -> None:
        raise ValueError("broken")

    async def one_after_the_other() -> list[int]:
        for _ in range(5):
            with pytest.raises(ValueError, match="broken"):
                await threads.do(fails)
        return [await threads.do(lambda number=number: number) for number in range(5)]  # type: ignore[misc]

    assert asyncio.run(one_after_the_other()) == [0, 1, 2, 3, 4]


def test_who_goes_away_while_he_waits_gives_his_place_back(threads: Threads) -> None:
    async def impatient() -> str:
        may_end = threading.Event()
        gone = asyncio.create_task(threads.do(may_end.wait))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        may_end.set()
        return await asyncio.wait_for(threads.do(lambda: "there"), 10)

    assert asyncio.run(impatient()) == "there"
