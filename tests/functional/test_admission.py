"""While too much waits for the broker, nothing new is accepted that would add to it, and nothing accepted is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from bus.bench.fanout import AGENCIES
from bus.bootstrap import assemble, load_workspace
from bus.config import Settings
from bus.errors import TransientError
from bus.gateway.server import serving
from bus.message.channel import control, tasks
from bus.operations.admission import Admission, may_ask
from bus.operations.caller import Role, mint_token
from bus.ports import Changes, OutboxRow, Payload, Store
from bus.process.definition import Condition, Definition, OneOf
from bus.process.definition import Path as DataPath
from bus.stores.sqlite import SqliteStore, migrate
from tests.support.gateway_rig import (
    BUSINESS,
    PERMIT,
    PORTAL,
    REGISTRY,
    STATISTICS,
    TAX,
    application,
    business,
    make_workspace,
)
from tests.support.process_rows import service, step
from tests.support.runtime_rig import runtime

A, B, C = AGENCIES[:3]
_keys = count(1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    migrate(tmp_path / "store.db")
    with closing(SqliteStore(tmp_path / "store.db")) as opened:
        yield opened


def fill(store: Store, *agencies: str) -> Sequence[int]:
    """One message more that waits for each; the keys of their rows."""
    rows = [
        OutboxRow(
            key=next(_keys), channel=tasks(agency), message_id="m", type="t", correlation_id="", payload_id=next(_keys),
            request_key=None,
        )
        for agency in agencies
    ]  # fmt: skip
    payloads = [Payload(id=row.payload_id, request_key=None, bytes=b"{}") for row in rows]
    with store.transaction() as transaction:
        transaction.write(Changes(payloads=payloads, outbox=rows))
    return [row.key for row in rows]


def refusal(admission: Admission, *asked: str) -> str:
    """The code with which a new submission that would ask these agencies is refused; "" if it is not."""
    try:
        admission.check("portal", "key", lambda: asked)
    except TransientError as error:
        return error.code
    return ""


def look(store: Store, **settings: int) -> Admission:
    """An admission that looks now for the first time."""
    return Admission(store, replace(Settings(), **settings), lambda: 0)


def test_nothing_new_is_accepted_while_too_much_waits_for_the_broker(store: SqliteStore) -> None:
    now = 0
    admission = Admission(store, Settings(outbox_most=3), lambda: now)
    assert refusal(admission, A) == ""

    first, *_ = fill(store, A, A, A, A)
    now += 1_000
    # Also for whoever would ask somebody else, or nobody: of one agency this is not too much, but of the broker
    assert (refusal(admission, A), refusal(admission, B), refusal(admission)) == ("outbox-full",) * 3

    store.confirm([first])
    now += 1_000
    assert refusal(admission, A) == ""


def test_one_look_counts_for_a_second(store: SqliteStore) -> None:
    admission = look(store, outbox_most=3, channel_most=3)
    assert refusal(admission, A) == ""
    fill(store, A, A, A, A)

    assert refusal(admission, A) == ""


def test_an_agency_for_which_too_much_waits_shuts_out_those_that_may_ask_it_and_nobody_else(store: SqliteStore) -> None:
    # Given more for one agency than may wait for one, and just that much for another
    first, *_ = fill(store, A, A, A, B, B)
    admission = look(store, channel_most=2)
    # Then
    assert (refusal(admission, A), refusal(admission, B, A)) == ("channel-full",) * 2
    assert (refusal(admission, B), refusal(admission, B, C), refusal(admission)) == ("", "", "")
    # When one of its messages has left
    store.confirm([first])
    # Then
    assert refusal(look(store, channel_most=2), A) == ""


def test_what_one_agency_cannot_take_does_not_fill_the_room_of_all(store: SqliteStore) -> None:
    # Given room for five, and a hundred that wait for one agency, of which three count
    fill(store, *[A] * 100)
    assert refusal(look(store, outbox_most=5, channel_most=3), B) == ""
    # When others cannot take theirs either
    fill(store, B, B, B)
    # Then it is the broker
    assert refusal(look(store, outbox_most=5, channel_most=3), C) == "outbox-full"


def test_all_channels_of_an_agency_count_as_one(store: SqliteStore) -> None:
    fill(store, A, A)
    row = OutboxRow(
        key=next(_keys), channel=control(A), message_id="m", type="t", correlation_id="", payload_id=1, request_key=None
    )
    with store.transaction() as transaction:
        transaction.write(Changes(outbox=[row]))
    assert refusal(look(store, channel_most=2), A) == "channel-full"


def test_what_is_held_back_counts_also_where_nothing_ever_came_through_the_broker(tmp_path: Path) -> None:
    # Given a bus that has heard nothing since it was made, and four steps that wait for their agencies
    with runtime(tmp_path) as rig:
        rig.submit("one")
        # Then that is because of the broker, and counts
        assert refusal(look(rig.store, outbox_most=3), A) == "outbox-full"
        # When a tick has come through, it is because of the agencies
        rig.tick()
        assert refusal(look(rig.store, outbox_most=3), A) == ""


def test_whom_a_request_may_ask_follows_from_its_data_as_far_as_that_goes() -> None:
    def chosen(path: str) -> OneOf:
        root, _, members = path.partition(".")
        by = DataPath(root="request", step="", members=(members,))
        if root == "steps":
            by = DataPath(root="steps", step="first", members=(members,))
        return OneOf(group="towns", by=by, members={"01": "north", "02": "south"}, desks=frozenset({"south"}))

    owned = DataPath(root="request", step="", members=("owned",))
    definition: Definition = service(
        step("first", provider="always"),
        step("clerk", provider="office", desk=True),
        step("known", provider=chosen("request.town")),
        step("later", provider=chosen("steps.town"), needs=("first",)),
        step("maybe", provider="land", when=Condition(path=owned)),
        step("each", provider="bank", for_each=DataPath(root="request", step="", members=("accounts",)), most=5),
    )
    assert may_ask(definition, {"town": "01", "owned": True, "accounts": [1, 2]}) == {"always", "north", "land", "bank"}
    assert may_ask(definition, {"town": "02", "accounts": []}) == {"always"}
    # What breaks the contract is refused for that, and no error before
    assert may_ask(definition, {"town": [], "accounts": "x", "owned": False}) == {"always"}


@contextmanager
def posting(folder: Path, **settings: int) -> Iterator[tuple[Store, httpx.Client]]:
    """A gateway with such limits, and one who asks it over HTTP for a portal."""
    parts = assemble(load_workspace(make_workspace(folder / "workspace"), "test"), folder / "data")
    context = replace(parts.context, admission=look(parts.store, **settings))
    token = mint_token(parts.store, "portal", Role.CONSUMER, PORTAL)
    headers = {"Authorization": f"Bearer {token}", "Accept-Language": "ar"}
    try:
        with serving(context) as url, httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=30) as client:
            yield parts.store, client
    finally:
        parts.manager.close()
        parts.broker.close()
        parts.store.close()


def test_a_portal_is_told_to_come_again_for_one_service_while_the_other_goes_on(tmp_path: Path) -> None:
    def post(client: httpx.Client, service: str, data: dict[str, Any], **headers: str) -> httpx.Response:
        headers["Idempotency-Key"] = f"first-{service}"
        return client.post(f"/services/{service}/requests", json=data, headers=headers)

    with posting(tmp_path, channel_most=1) as (store, client):
        # Given a registry, which one of two services asks, for which too much waits
        fill(store, REGISTRY, REGISTRY, TAX)
        # When both are asked for
        refused = post(client, BUSINESS, business())
        taken = post(client, PERMIT, application(), **{"Bus-Purpose": STATISTICS})
        # Then
        assert taken.status_code == 202, taken.text
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (503, "channel-full")
        assert int(refused.headers["Retry-After"]) > 0
        assert "ينتظر" in problem["title"]
        assert store.accepted() == 1
