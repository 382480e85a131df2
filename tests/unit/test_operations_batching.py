"""Many commands at once: each has its own fate, and one that fails never touches its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest

from bus.errors import NotFoundError, StoreUnavailableError, TransientError
from bus.gateway.batching import Batcher, perform_all
from bus.operations.operation import Command
from bus.ports import Decided, Fate, Incoming
from bus.process.event import CancelAsked


@dataclass
class Register:
    """A decider that remembers its batches."""

    batches: list[list[str]] = field(default_factory=list)
    down: bool = False

    def decide(self, batch: Sequence[Incoming]) -> tuple[Decided, ...]:
        if self.down:
            raise StoreUnavailableError
        self.batches.append([incoming.request_id for incoming in batch])
        return tuple(Decided(fate=Fate.APPLIED) for _ in batch)


def _command(name: str) -> Command[str]:
    event = CancelAsked(actor="test", reason="test")
    return Command(incoming=Incoming(request_id=name, event=event), answer=lambda _: f"{name} done")


def _refused() -> Command[str]:
    raise NotFoundError


def test_all_that_pass_their_check_are_decided_in_one_batch_and_answered_in_order() -> None:
    register = Register()

    outcomes = perform_all(register, [partial(_command, "a"), _refused, lambda: "plain", partial(_command, "b")])

    assert register.batches == [["a", "b"]]
    assert isinstance(outcomes[1], NotFoundError)
    assert [outcomes[0], *outcomes[2:]] == ["a done", "plain", "b done"]


def test_while_the_store_is_away_one_waits_for_it_and_not_one_after_the_other() -> None:
    tried = []

    def wait_in_vain() -> None:
        tried.append("store")
        raise StoreUnavailableError

    outcomes = perform_all(Register(), [partial(_command, "a"), *[wait_in_vain] * 100])

    assert tried == ["store"]
    assert outcomes[0] == "a done"
    assert all(isinstance(outcome, StoreUnavailableError) for outcome in outcomes[1:])


def test_a_second_command_on_one_request_is_checked_again_after_the_first() -> None:
    register = Register()

    def check() -> Command[str]:
        if register.batches:
            raise NotFoundError
        return _command("a")

    outcomes = perform_all(register, [check, check, check])

    assert register.batches == [["a"]]
    assert outcomes[0] == "a done"
    assert all(isinstance(outcome, NotFoundError) for outcome in outcomes[1:])


def test_a_store_that_is_down_is_told_to_each_of_the_batch_and_to_nobody_else() -> None:
    outcomes = perform_all(Register(down=True), [partial(_command, "a"), lambda: "plain", partial(_command, "b")])

    assert outcomes[1] == "plain"
    assert all(isinstance(outcomes[index], StoreUnavailableError) for index in (0, 2))


def test_commands_that_come_together_are_decided_together() -> None:
    register = Register()

    async def run() -> list[str]:
        batcher = Batcher(register, most=100, wait=20)
        done = await asyncio.gather(*(batcher.do(partial(_command, f"{number}")) for number in range(100)))
        batcher.close()
        return list(done)

    outcomes = asyncio.run(run())

    assert outcomes == [f"{number} done" for number in range(100)]
    assert [len(batch) for batch in register.batches] == [100]


def test_no_batch_is_larger_than_the_most_and_nothing_is_left_over() -> None:
    register = Register()

    async def run() -> None:
        batcher = Batcher(register, most=7, wait=1)
        await asyncio.gather(*(batcher.do(partial(_command, f"{number}")) for number in range(50)))
        batcher.close()

    asyncio.run(run())

    assert max(len(batch) for batch in register.batches) <= 7
    assert sorted(int(name) for batch in register.batches for name in batch) == list(range(50))


def test_too_much_at_once_is_told_that_the_bus_is_busy() -> None:
    async def run() -> list[object]:
        batcher = Batcher(Register(), most=1, wait=1)
        outcomes = await asyncio.gather(
            *(batcher.do(partial(_command, f"{number}")) for number in range(30)), return_exceptions=True
        )
        batcher.close()
        return list(outcomes)

    outcomes = asyncio.run(run())

    busy = [outcome for outcome in outcomes if isinstance(outcome, TransientError)]
    assert {error.code for error in busy} == {"busy"}
    assert outcomes[0] == "0 done"


def test_one_who_goes_away_takes_nothing_with_him() -> None:
    register = Register()

    async def run() -> str:
        batcher = Batcher(register, most=10, wait=20)
        gone = asyncio.create_task(batcher.do(partial(_command, "gone")))
        stays = asyncio.create_task(batcher.do(partial(_command, "stays")))
        await asyncio.sleep(0)
        gone.cancel()
        answer = await stays
        with pytest.raises(asyncio.CancelledError):
            await gone
        batcher.close()
        return str(answer)

    assert asyncio.run(run()) == "stays done"
    assert register.batches == [["gone", "stays"]]


def test_nobody_waits_for_ever_when_the_worker_is_gone() -> None:
    async def run() -> list[object]:
        batcher = Batcher(Register(), most=1, wait=1)
        batcher.close()
        return list(
            await asyncio.gather(*(batcher.do(partial(_command, name)) for name in "ab"), return_exceptions=True)
        )

    outcomes = asyncio.run(run())

    assert [type(outcome) for outcome in outcomes] == [RuntimeError, RuntimeError]
