"""Programs of a benchmark: what they count is right, and nothing of them stays when somebody breaks off."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import httpx
import pika  # type: ignore[import-untyped]
import pytest

from bus.bench import embedded, http_load, soak
from bus.bench.contender import Contender, Ready
from bus.bench.http_line import Line, Questions
from bus.bench.pace import Order, Pace, Ran
from bus.bench.services import ServiceError
from bus.bench.yardsticks import scatter_gather
from bus.ports import Fate

#: Longer than any test waits.
_LONG: Final = 60.0
_LOADS_LONG: Final = f"""
import time
from bus.bench.orders import obey
from bus.bench.pace import Pace

def load(order):
    if not order.prefix.endswith("-first"):
        time.sleep({_LONG})
    return Pace(order, 0.0).ran()

obey(lambda order: load)
"""
_ASKS: Final = f"""
import sys
from pathlib import Path
from bus.bench.orders import loader
from bus.bench.pace import Order
with loader([sys.executable, "-c", '''{_LOADS_LONG}'''], Order(window=1, seconds=1.0), Path(sys.argv[1])) as started:
    print(started.pid, flush=True)
    started.load()
"""
_HAS_A_FOLDER: Final = f"""
import sys, tempfile, time
from bus.bench.lifeline import ended_in_order
with ended_in_order(), tempfile.TemporaryDirectory(dir=sys.argv[1]):
    print("there", flush=True)
    time.sleep({_LONG})
"""


def wait_for(look: Callable[[], bool]) -> bool:
    until = time.monotonic() + _LONG / 2
    while not look() and time.monotonic() < until:
        time.sleep(0.02)
    return look()


def test_a_loader_ends_with_whoever_asked_it_in_the_middle_of_its_load(tmp_path: Path) -> None:
    # Given a loader at its load, and who waits for it
    with subprocess.Popen([sys.executable, "-c", _ASKS, str(tmp_path / "log")], stdout=subprocess.PIPE) as asks:
        assert asks.stdout
        loader = Path(f"/proc/{int(asks.stdout.readline())}")
        time.sleep(0.2)
        assert loader.exists()
        # When that one is killed
        asks.kill()
    # Then it is gone long before its load would be over
    assert wait_for(lambda: not loader.exists() or "Z (" in (loader / "status").read_text())


def test_a_benchmark_that_is_told_to_stop_clears_its_folder_away(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HAS_A_FOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as bench:
        assert bench.stdout
        bench.stdout.readline()
        assert list(tmp_path.iterdir())
        bench.send_signal(signal.SIGTERM)
    assert not list(tmp_path.iterdir())


@contextmanager
def _sleeper() -> Iterator[Ready]:
    yield Ready(load=[sys.executable, "-c", _LOADS_LONG], where={})


class _Broken:
    """A RabbitMQ that says no, and a store of which nobody gets to ask anything."""

    def __getattr__(self, _: str) -> Any:
        return self

    def groups(self) -> dict[str, Any]:
        return {}

    def ask(self, *_: object) -> None:
        raise ServiceError("GET /api/queues: 500")


def test_a_soak_that_can_no_longer_be_watched_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a load of a minute, and a broker whose queues cannot be looked at
    monkeypatch.setattr(soak, "_EVERY", 0.1)
    begun = time.monotonic()
    broken: Any = _Broken()
    order = Order(window=1, seconds=1.0, prefix="soak")
    # Then it is not the end of the load that is waited for
    with pytest.raises(ServiceError):
        soak._load(  # noqa: SLF001
            Contender(name="bus", open=_sleeper),
            order,
            broken,
            broken,
            tmp_path / "log",
            lambda _: None,
        )
    assert time.monotonic() - begun < _LONG / 2


def test_a_soak_goes_on_where_one_look_at_the_queues_was_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "_EVERY", 0.01)
    # Given a load that ends after the second look, and a broker that is too busy for the first one
    loading, looks = Future[Ran](), 0

    def ask(*_: object) -> list[dict[str, Any]]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise httpx.ReadTimeout("busy")
        if looks == 2:
            loading.set_result(Ran(took=1.0, counted=0, ended=0, repeated=0, latencies=()))
            return [{"name": "tasks.agency_a", "messages": 3}, {"name": "control.agency_a", "messages": 9}]
        return []

    shared: Any = SimpleNamespace(rabbit=SimpleNamespace(admin=SimpleNamespace(ask=ask)))
    store: Any = SimpleNamespace(outbox_depth=lambda: 0)
    samples = soak._watch(loading, {}, shared, store, lambda _: None)  # noqa: SLF001
    assert [sample.queued for sample in samples] == [3, 0]


class _Deaf(asyncio.Transport):
    """Takes what is sent."""

    def write(self, _: object) -> None:
        """Nothing comes of it."""


def test_over_http_a_result_that_comes_again_is_counted_as_repeated() -> None:
    async def hear() -> Pace:
        pace = Pace(Order(window=2, seconds=10.0, warm=0.0), time.perf_counter())
        counter = http_load._Counter(Questions("http://x", {}), pace)  # noqa: SLF001
        line = Line(counter._received)  # noqa: SLF001
        line.connection_made(_Deaf())
        counter._idle.append(line)  # noqa: SLF001
        counter.begin()
        # Given a request that ended, when its result comes once more
        counter._received(line, 202, b'{"request_id": "r"}')  # noqa: SLF001
        counter.ended(["r"])
        counter.ended(["r"])
        return pace

    ran = asyncio.run(hear()).ran()
    assert (ran.ended, ran.repeated) == (1, 1)


def test_in_one_process_the_time_that_a_submission_takes_is_part_of_its_latency() -> None:
    # Given a bus that needs 50 ms for the submission and nothing for the rest
    waiting: list[Any] = []

    def decide(batch: list[Any]) -> list[Any]:
        time.sleep(0.05)
        waiting.extend(batch)
        return [SimpleNamespace(fate=Fate.APPLIED) for _ in batch]

    def results(*_: object, **__: object) -> list[Any]:
        found = [(SimpleNamespace(key=1, request_id=one.request_id), b"") for one in waiting]
        waiting.clear()
        return found

    store = SimpleNamespace(results=results, collect=lambda *_: None, recount=tuple)
    parts: Any = SimpleNamespace(store=store, manager=SimpleNamespace(decide=decide))

    class Load(embedded._Load):  # noqa: SLF001
        def _incoming(self) -> Any:
            self._number += 1
            return SimpleNamespace(request_id=f"r{self._number}")

    # When it is loaded, then nobody waited for less
    ran = Load(parts).run(Order(window=1, seconds=1.0, warm=0.0))
    assert ran.counted >= 2
    assert min(ran.latencies) >= 50


class _Channel:
    """Keeps what was published and acknowledged."""

    def __init__(self) -> None:
        self.published = 0
        self.acknowledged: list[tuple[int, bool]] = []

    def basic_publish(self, *_: object, **__: object) -> None:
        self.published += 1

    def basic_ack(self, tag: int, *, multiple: bool) -> None:
        self.acknowledged.append((tag, multiple))


def _confirmed(tag: int, *, multiple: bool) -> Any:
    return SimpleNamespace(method=pika.spec.Basic.Ack(tag, multiple))


def test_the_ceiling_acknowledges_a_message_once_all_that_was_published_for_it_is_confirmed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a coordinator that publishes two messages for each that comes, and three that came
    later: list[Callable[[], None]] = []
    loop = SimpleNamespace(call_later=lambda _, act: later.append(act))
    monkeypatch.setattr(pika, "SelectConnection", lambda *_, **__: SimpleNamespace(ioloop=loop))

    def read(station: scatter_gather.Station, tag: int, _: str, id_: str) -> None:
        station.publish("tasks", id_, tag)
        station.publish("tasks", id_, tag)

    def confirm(tag: int, *, multiple: bool) -> list[tuple[int, bool]]:
        station._on_confirm(_confirmed(tag, multiple=multiple))  # noqa: SLF001
        while later:
            later.pop()()
        return channel.acknowledged

    station = scatter_gather.Station("amqp://x", ("requests",), 10, read)
    channel = station._channel = _Channel()  # noqa: SLF001
    for tag in (1, 2, 3):
        method = SimpleNamespace(delivery_tag=tag, routing_key="requests")
        station._on_message(channel, method, SimpleNamespace(correlation_id="r"), b"")  # noqa: SLF001
    assert channel.published == 6
    # Then what is half confirmed, or behind something that is, stays
    assert confirm(4, multiple=False) == []
    assert confirm(1, multiple=False) == []
    # And one confirm of several settles all before it and none after it
    assert confirm(3, multiple=True) == [(2, True)]
    assert confirm(6, multiple=True) == [(2, True), (3, True)]
