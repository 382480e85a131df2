"""Webhooks: a consumer's feed is brought to it signed, in order, at least once, and nobody else waits for it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bus import logs
from bus.bench import fanout
from bus.bootstrap import Parts, assemble, open_store, running
from bus.catalog.workspace import Secret, WebhookUse
from bus.message.instant import MINUTE
from bus.ports import Incoming
from bus.process.event import CancelAsked, Submitted
from bus.runtime.webhook import TOLD_AFTER
from tests.support.demo_workspace import ROOT
from tests.support.runtime_rig import RuntimeRig, runtime
from tests.support.waiting import wait_for
from tests.support.webhook_receiver import SHORT, WRITTEN, Receiver, collected, end, webhook


def _documented() -> Callable[[dict[str, str], bytes, str], bool]:
    """The check that the documentation gives to consumers, as it stands there."""
    page = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # it is our own documentation
    return cast("Callable[[dict[str, str], bytes, str], bool]", names["verify"])


verify = _documented()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path / "data", SHORT) as rig:
        yield rig


def test_every_message_is_brought_in_the_order_of_the_feed_signed_and_acknowledged(rig: RuntimeRig) -> None:
    # Given three messages in the feed
    ids = end(rig, "a", "b", "c")
    receiver = Receiver()
    with receiver.listening() as url:
        hook = webhook(rig, url)
        # When they are brought
        while hook.step():
            pass
        hook.close()
    # Then each came once, in order, as the very bytes of the feed, and is collected as if the consumer had said so
    assert receiver.ids == ids
    assert [body for _, body in receiver.came] == [
        body for _, body in rig.store.results(fanout.CONSUMER, after=0, most=9)
    ]
    assert all(verify(headers, body, WRITTEN) for headers, body in receiver.came)
    assert all(headers["content-type"] == "application/cloudevents+json" for headers, _ in receiver.came)
    assert collected(rig) == [True] * 3
    assert rig.store.recount() == ()


def test_a_signature_fails_for_another_body_another_time_and_another_secret(rig: RuntimeRig) -> None:
    end(rig, "a")
    receiver = Receiver()
    with receiver.listening() as url:
        webhook(rig, url).step()
    ((headers, body),) = receiver.came
    assert verify(headers, body, WRITTEN)
    assert not verify(headers, body + b" ", WRITTEN)
    assert not verify({**headers, "webhook-timestamp": "1"}, body, WRITTEN)
    assert not verify(headers, body, "whsec_" + base64.b64encode(bytes(32)).decode())


def test_what_the_consumer_acknowledged_itself_is_not_brought_any_more(rig: RuntimeRig) -> None:
    ids = end(rig, "a", "b")
    first = rig.store.results(fanout.CONSUMER, after=0, most=1)[0][0]
    rig.store.collect(fanout.CONSUMER, [first.key])
    receiver = Receiver()
    with receiver.listening() as url:
        hook = webhook(rig, url)
        while hook.step():
            pass
        # Also long after, what comes new is found
        rig.pass_time(60 * MINUTE)
        hook.step()
        ids = end(rig, "c")
        assert hook.step()
    assert receiver.ids == ids[1:]


def test_the_log_holds_neither_secret_nor_data_nor_address(rig: RuntimeRig) -> None:
    lines = io.StringIO()
    logs.configure(json=True, stream=lines)
    try:
        end(rig, "a")
        receiver = Receiver(answers=[500] * TOLD_AFTER)
        with receiver.listening() as url:
            hook = webhook(rig, f"{url}?token=hidden")
            for _ in range(TOLD_AFTER + 1):
                hook.step()
    finally:
        logs.configure(json=True, level="warning")
    told = lines.getvalue()
    assert "webhook_refused" in told
    assert not [
        word for word in ("whsec", "hidden", "127.0.0.1", "log_withheld", fanout.submission(1)["note"]) if word in told
    ]


def _end(parts: Parts, consumer: str) -> None:
    """One request of this consumer, taken back at once."""
    one = RuntimeRig(parts).incoming(f"of-{consumer}")
    assert isinstance(one.event, Submitted)
    assert one.submission is not None
    theirs = replace(
        one, event=replace(one.event, consumer=consumer), submission=replace(one.submission, consumer=consumer)
    )
    parts.manager.decide([theirs])
    parts.manager.decide([Incoming(request_id=one.request_id, event=CancelAsked(actor="test", reason="test"))])


def test_one_receiver_that_hangs_keeps_neither_another_consumer_nor_the_end_of_the_bus_waiting(tmp_path: Path) -> None:
    # Given two consumers, one of whose receivers takes and never answers
    stuck, quick = Receiver(answers=[500]), Receiver()
    stuck.may_answer.clear()
    with stuck.listening() as first, quick.listening() as second:
        workspace = fanout.workspace(replace(SHORT, webhook_timeout=5_000, drain_within=3_000))
        uses = {
            name: WebhookUse(url=url, secret=Secret(source="file", name="hook.secret"))
            for name, url in ((fanout.CONSUMER, first), ("agency_a", second))
        }
        (tmp_path / "hook.secret").write_text(f"{WRITTEN}\n", encoding="utf-8")
        workspace = replace(workspace, root=tmp_path, env=replace(workspace.env, webhooks=uses))
        parts = assemble(workspace, tmp_path / "data")
        for consumer in uses:
            _end(parts, consumer)
        # When the whole bus runs
        with running(parts, hosts=False):
            wait_for("the quick one has its message", lambda: quick.came)
            wait_for("the other one was asked", lambda: stuck.came)
        # Then the quick one's is collected, and the other's waits for the next start
    with closing(open_store(tmp_path / "data")) as store:
        assert [row.collected_at is not None for row, _ in store.results("agency_a", after=0, most=9)] == [True]
        assert [row.collected_at is not None for row, _ in store.results(fanout.CONSUMER, after=0, most=9)] == [False]
