"""Many at once, in the same moment, and people who go away: nothing is lost, and whoever is refused is told why."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from bus.errors import StoreUnavailableError, TransientError
from bus.gateway.batching import perform_all
from bus.gateway.waiting import WaitingRoom
from bus.operations.caller import Caller, Role
from bus.operations.operation import Command
from bus.operations.submission import Submit, submit
from bus.process.state import OUTCOMES, RequestState
from tests.support.gateway_rig import BUSINESS, DESK, PERMIT, PORTAL, Rig, application, business, gateway, permit
from tests.support.waiting import wait_for

STATISTICS = {"Bus-Purpose": "statistics"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with gateway(tmp_path) as rig:
        yield rig
        # Whatever was done to it: the store adds up.
        assert rig.parts.store.recount() == ()


def _submit(http: httpx.Client, key: str, service: str = BUSINESS) -> httpx.Response:
    data = business() if service == BUSINESS else application()
    headers = {"Idempotency-Key": key, **(STATISTICS if service == PERMIT else {})}
    return http.post(f"/services/{service}/requests", json=data, headers=headers)


def _at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do these in the same moment, each in a thread of its own."""
    barrier = threading.Barrier(len(acts))

    def act(one: Callable[[], Any]) -> Any:
        barrier.wait(20)
        return one()

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(act, acts))


class _Wires:
    """Many connections of one asker, each with one question under way, without a thread for any."""

    def __init__(self, rig: Rig, token: str) -> None:
        address = httpx.URL(rig.url)
        self._host, self._port = address.host, address.port or 80
        self._token = token
        self._open: list[asyncio.StreamWriter] = []
        self._answers: list[asyncio.Task[tuple[int, dict[str, str], Any]]] = []

    async def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        """Send one question on a connection of its own; the answer is not waited for."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        content = b"" if body is None else json.dumps(body).encode()
        lines = {"Host": "bus", "Authorization": f"Bearer {self._token}", "Content-Length": str(len(content))}
        lines |= {"Content-Type": "application/json"} if content else {}
        text = "".join(f"{name}: {value}\r\n" for name, value in {**lines, **(headers or {})}.items())
        writer.write(f"{method} /v1{path} HTTP/1.1\r\n{text}\r\n".encode() + content)
        await writer.drain()
        self._open.append(writer)
        self._answers.append(asyncio.create_task(self._answer(reader)))

    async def first(self) -> None:
        """Wait until somebody is answered."""
        await asyncio.wait(self._answers, return_when=asyncio.FIRST_COMPLETED)

    async def answers(self) -> list[tuple[int, dict[str, str], Any]]:
        """Status, headers and content of every answer, in the order of the questions."""
        return list(await asyncio.gather(*self._answers))

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        content = await reader.readexactly(int(headers["content-length"]))
        return int(head[0].split(" ")[1]), headers, json.loads(content)

    async def close(self) -> None:
        for writer in self._open:
            writer.close()


def test_a_thousand_who_wait_hold_no_thread_and_hear_at_once_while_submissions_flow(rig: Rig) -> None:
    token = rig.token(Role.CONSUMER, PORTAL)
    with rig.http(token) as http:
        requests = [_submit(http, f"waited-{number}", PERMIT).json()["request_id"] for number in range(20)]
        cancelled = [_submit(http, f"cancelled-{number}", PERMIT).json()["request_id"] for number in range(20)]
        idle = threading.active_count()

        async def crowd() -> list[tuple[int, dict[str, str], Any]]:
            wires = _Wires(rig, token)
            # Given 1,000 who wait: 500 for requests that end now, 480 for others, 20 for news in the feed
            for number in range(500):
                await wires.ask("GET", f"/requests/{cancelled[number % 20]}?wait=25")
            for number in range(480):
                await wires.ask("GET", f"/requests/{requests[number % 20]}?wait=8")
            for _ in range(20):
                await wires.ask("GET", f"/results?after={2**62}&wait=8")
            # When others submit and read meanwhile
            flowing = await asyncio.to_thread(
                lambda: [_submit(http, f"flow-{number}").status_code for number in range(30)]
            )
            reading = await asyncio.to_thread(lambda: [http.get("/requests").status_code for _ in range(10)])
            # Then they are served, by no more threads than the few that there are for all
            assert (set(flowing), set(reading)) == ({202}, {200})
            assert threading.active_count() - idle < 20
            for request in cancelled:
                ended = await asyncio.to_thread(http.post, f"/requests/{request}/cancel", json={"reason": "test"})
                assert ended.status_code == 200
            try:
                return await wires.answers()
            finally:
                await wires.close()

        answers = asyncio.run(crowd())

    # And every one of them is answered: with the end where there was one, else with how things stand
    assert {status for status, _, _ in answers} == {200}
    assert {content["state"] for _, _, content in answers[:500]} == {"cancelled"}
    assert {content["state"] for _, _, content in answers[500:980]} == {"open"}
    assert [content["items"] for _, _, content in answers[980:]] == [[]] * 20


def test_one_key_from_fifty_threads_is_one_request_with_one_receipt(rig: Rig) -> None:
    token = rig.token(Role.CONSUMER, PORTAL)
    with ExitStack() as stack:
        clients = [stack.enter_context(rig.http(token)) for _ in range(50)]
        answers = _at_once(*(partial(_submit, http, "same") for http in clients))

    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
    assert len({(answer.json()["request_id"], answer.json()["tracking"]) for answer in answers}) == 1
    assert sum(rig.parts.store.totals().values()) == rig.parts.store.accepted() == 1


@pytest.mark.parametrize("verb", ["claim", "answer"])
def test_of_two_clerks_in_the_same_moment_one_has_the_task_and_the_other_learns_who_and_when(
    rig: Rig, verb: str
) -> None:
    names = ("fatima", "omar")
    with ExitStack() as stack:
        portal = stack.enter_context(rig.http(rig.token(Role.CONSUMER, PORTAL)))
        clerks = [stack.enter_context(rig.http(rig.token(Role.CLERK, DESK, user=name))) for name in names]
        body = permit() if verb == "answer" else None
        for number in range(10):
            row = rig.row_of(_submit(portal, f"two-{number}", PERMIT).json()["request_id"])
            path = f"/desk/{row}/{verb}"

            answers = _at_once(*(partial(http.post, path, json=body) for http in clerks))

            first, second = sorted(answers, key=lambda answer: answer.status_code)
            winner = f"{DESK}/{names[answers.index(first)]}"
            assert (first.status_code, second.status_code) == (200, 409), second.text
            assert second.json()["changed_by"] == winner
            assert second.json()["changed_at"] is not None


def test_a_cancel_that_races_the_last_reply_is_in_time_or_told_that_it_is_not(rig: Rig) -> None:
    with ExitStack() as stack:
        portal = stack.enter_context(rig.http(rig.token(Role.CONSUMER, PORTAL)))
        clerk = stack.enter_context(rig.http(rig.token(Role.CLERK, DESK, user="fatima")))
        for number in range(20):
            request = _submit(portal, f"race-{number}", PERMIT).json()["request_id"]
            row = rig.row_of(request)

            cancel, answer = _at_once(
                partial(portal.post, f"/requests/{request}/cancel", json={"reason": "test"}),
                partial(clerk.post, f"/desk/{row}/answer", json=permit()),
            )

            # Exactly one of the two was in time, and the request ended as that one says
            assert sorted((cancel.status_code, answer.status_code)) == [200, 409], (cancel.text, answer.text)
            ended = RequestState.CANCELLED if cancel.status_code == 200 else RequestState.COMPLETED
            read = rig.parts.store.request(request)
            assert read is not None
            assert read.state is ended
        # And each has one result, never none and never two
        results = Counter(row.request_id for row, _ in rig.parts.store.results(PORTAL, after=0, most=200))
    assert set(results.values()) == {1}
    assert len(results) == 20


def test_a_client_that_goes_away_after_its_last_byte_has_its_request_nevertheless(rig: Rig) -> None:
    token = rig.token(Role.CONSUMER, PORTAL)
    body = json.dumps(business()).encode()
    address = httpx.URL(rig.url)
    for number in range(20):
        head = (
            f"POST /v1/services/{BUSINESS}/requests HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {token}\r\n"
            f"Idempotency-Key: gone-{number}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection((address.host, address.port or 80), timeout=20) as wire:
            # Hung up on without a goodbye: what the gateway still wants to say meets a reset.
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.sendall(head.encode() + body)
            if number % 2:
                wire.recv(1)
    wait_for("all are decided", lambda: rig.parts.store.accepted() >= 10)
    with rig.http(token) as http:
        again = [_submit(http, f"gone-{number}").status_code for number in range(20)]

    # Those who had seen a byte of the answer were accepted then; the others were, or are now: once.
    assert {again[number] for number in range(1, 20, 2)} == {200}
    assert set(again) <= {200, 202}
    assert rig.parts.store.accepted() == 20


def test_who_hangs_up_while_he_waits_gives_his_place_back() -> None:
    room = WaitingRoom(lambda names: dict.fromkeys(names, 1), most=1)

    async def scene() -> None:
        first = asyncio.create_task(room.wait(lambda: None, about="a", key=1, seconds=60))
        await asyncio.sleep(0)
        # One more finds no place and is told so
        with pytest.raises(TransientError) as refused:
            await room.wait(lambda: None, about="a", key=2, seconds=60)
        assert refused.value.code == "busy"
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert len(room) == 0

    asyncio.run(scene())
    room.close()


def test_those_who_wait_for_the_same_are_looked_for_once_and_only_when_something_happened() -> None:
    version, asked, looks = 1, list[int](), list[int]()
    asked_often = threading.Event()

    def versions(names: Collection[str]) -> dict[str, int]:
        asked.append(len(names))
        if len(asked) == 4:
            asked_often.set()
        return dict.fromkeys(names, version)

    def look() -> str | None:
        looks.append(version)
        return "news" if version == 2 else None

    room = WaitingRoom(versions)

    async def scene() -> list[str | None]:
        nonlocal version
        waiting = [asyncio.create_task(room.wait(look, about="a", key="same", seconds=60)) for _ in range(100)]
        # Rounds pass in which nothing happened
        await asyncio.to_thread(asked_often.wait, 20)
        version = 2
        return list(await asyncio.gather(*waiting))

    heard = asyncio.run(scene())
    room.close()
    assert heard == ["news"] * 100
    assert looks == [1, 2]
    assert set(asked) == {1}


def test_a_store_that_is_away_is_told_to_all_who_wait() -> None:
    def versions(_: object) -> dict[str, int]:
        raise StoreUnavailableError

    room = WaitingRoom(versions)

    async def scene() -> list[object]:
        waiting = (room.wait(lambda: None, about="a", key=number, seconds=60) for number in range(5))
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    heard = asyncio.run(scene())
    room.close()
    assert [type(one) for one in heard] == [StoreUnavailableError] * 5


def test_an_overloaded_gateway_says_when_to_come_again_and_recovers(rig: Rig) -> None:
    token = rig.token(Role.CONSUMER, PORTAL)
    full = 10 * rig.parts.context.settings.batch_most

    async def crowd() -> list[tuple[int, dict[str, str], Any]]:
        wires = _Wires(rig, token)
        headers = {"Content-Type": "application/json"}
        # Given a store that lets nobody write for a while, and more submissions than may wait
        with rig.parts.store.transaction():
            for number in range(full + 300):
                key = {"Idempotency-Key": f"full-{number}"}
                await wires.ask("POST", f"/services/{BUSINESS}/requests", business(), {**headers, **key})
            # Nobody has a receipt before the store is free: whoever is told something is told to come again.
            await wires.first()
        try:
            return await wires.answers()
        finally:
            await wires.close()

    answers = asyncio.run(crowd())

    # Then those who found no place are told so and when to try again; the others have their receipts
    told = Counter(status for status, _, _ in answers)
    assert set(told) == {202, 503}
    refused = [(headers, content) for status, headers, content in answers if status == 503]
    assert {content["code"] for _, content in refused} == {"busy"}
    assert all(int(headers["retry-after"]) > 0 for headers, _ in refused)
    # And nothing that was accepted is lost, and who comes again is served
    assert rig.parts.store.accepted() == told[202]
    with rig.http(token) as http:
        again = [_submit(http, f"full-{number}").status_code for number in range(full + 290, full + 300)]
    assert set(again) <= {200, 202}


def test_a_tracking_code_that_another_request_has_is_not_given_twice(rig: Rig) -> None:
    # Given a submission whose first code belongs to somebody else already
    caller = Caller(user="test", role=Role.CONSUMER, agency=PORTAL)
    given = Submit(service=BUSINESS, data=business(), key="clash")
    wanted = submit(rig.parts.context, caller, given).tracking

    def tracked(codes: Any) -> dict[str, str]:
        return {code: "another" for code in codes if code == wanted}

    (receipt,) = perform_all(rig.parts.manager, [lambda: _command(rig, caller, given)], tracked)

    # Then it gets the next one, and the receipt names the one that was kept
    assert receipt.tracking != wanted
    assert rig.parts.store.find(receipt.tracking) == receipt.request_id
    assert rig.parts.store.find(wanted) is None
    read = rig.parts.store.request(receipt.request_id)
    assert read is not None
    assert read.state not in OUTCOMES


def _command(rig: Rig, caller: Caller, given: Submit) -> Command[Any]:
    return submit(rig.parts.context, caller, given)
