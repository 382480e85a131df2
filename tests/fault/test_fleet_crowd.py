"""Several processes of every role at once under load: no effect twice, and everybody is told everything, in order."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from bus.bench.services import PostgresNode, RabbitNode
from bus.client import Client, Json
from bus.errors import TransientError
from tests.fault.test_fleet_store import all_work
from tests.support.accounts import ends_told, whole_feed
from tests.support.demo_workspace import PORTAL, REGISTRY
from tests.support.fleet import VHOST, Fleet
from tests.support.ledgers import assert_all_is_well
from tests.support.load import Load, all_end
from tests.support.waiting import wait_for
from tests.support.webhook_receiver import WRITTEN, Receiver

ROLES: Mapping[str, tuple[str, ...]] = {
    "gateway": ("gateway",),
    "gateway-2": ("gateway",),
    "manager-1": ("process-manager",),
    "manager-2": ("process-manager",),
    "manager-3": ("process-manager",),
    "clock-1": ("relay", "timekeeper"),
    "clock-2": ("relay", "timekeeper"),
    "host": (f"agency:{REGISTRY}",),
}


class Crowd(Fleet):
    """Two gateways, each with a folder of its own, and a consumer with a webhook."""

    receiver_url = ""

    def start(self) -> None:
        if self.receiver_url and "webhooks:" not in (file := self.workspace / "env" / "test.yaml").read_text():
            (self.workspace / "secrets" / "hook").write_text(WRITTEN, encoding="ascii")
            with file.open("a", encoding="utf-8") as env:
                env.write(f"webhooks: {{{PORTAL}: {{url: '{self.receiver_url}', secret: {{file: secrets/hook}}}}}}\n")
        super().start()
        wait_for("the other gateway has told its address", (self.data / "gateway-2" / "url").exists)

    def folder_of(self, name: str) -> Path:
        return self.data / "gateway-2" if name == "gateway-2" else self.data

    def client_of(self, name: str) -> Client:
        url, token = ((self.folder_of(name) / file).read_text().strip() for file in ("url", "token"))
        return Client(url, token, agency=PORTAL)


class LoadOfBoth(Load):
    """Each client goes to one of the gateways, and to another one when it was let down."""

    def _client(self) -> Client:
        assert isinstance(self._fleet, Crowd)
        return self._fleet.client_of(random.choice(["gateway", "gateway-2"]))


class Follower:
    """Reads a consumer's feed from a gateway by its cursor, while it is written."""

    def __init__(self, crowd: Crowd, name: str) -> None:
        self._crowd = crowd
        self._name = name
        self._stop = threading.Event()
        self.read: list[Json] = []
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        after = 0
        with self._crowd.client_of(self._name) as client:
            while not self._stop.is_set():
                with suppress(TransientError):
                    page = client.result_list(after=after, wait=1)
                    self.read += page["items"]
                    after = int(page["next"])

    def stop(self) -> list[str]:
        """The ids of what it has read, in its order."""
        self._stop.set()
        self._thread.join(30)
        return [str(item["message"]["id"]) for item in self.read]


@pytest.fixture(scope="module")
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Crowd]:
    folder = tmp_path_factory.mktemp("crowd")
    (folder / "fleet").mkdir()
    # What the receiver did not take comes soon again; what it answers slowly, busy as it is, does not come twice.
    webhooks = {"webhook_timeout": "2s", "webhook_first": "100ms", "webhook_most": "1s"}
    with (
        RabbitNode(folder / "rabbit") as rabbit,
        PostgresNode(folder / "postgres") as postgres,
        receiver.listening() as url,
    ):
        rabbit.admin.make_vhost(VHOST)
        made = Crowd(folder / "fleet", rabbit, postgres, roles=ROLES, intervals=webhooks)
        made.receiver_url = url
        with made as running:
            all_work(running)
            yield running


def test_several_of_each_role_do_everything_once_and_tell_everything_in_order(crowd: Crowd, receiver: Receiver) -> None:
    # Given readers who follow the feed at both gateways, and a webhook that two relays could bring
    followers = [Follower(crowd, name) for name in ("gateway", "gateway-2")]
    with LoadOfBoth(crowd, rate=30, clients=6) as load:
        load.wait_for(150)
        outcomes = all_end(crowd, load)
    # When everything has ended
    assert set(outcomes) == {"completed"}
    assert_all_is_well(crowd)
    feed = [str(item["message"]["id"]) for item in whole_feed(crowd.portal)]
    # Then each result is there once, and each reader has read exactly that, in that order
    results = ends_told(crowd.portal)
    assert {results[request] for request in load.accepted} == {1}
    for follower in followers:
        wait_for("it has read everything", lambda f=follower: len(f.read) >= len(feed))  # type: ignore[misc]
        assert follower.stop() == feed
    # And so was it brought, once each
    wait_for("all of it is brought", lambda: len(set(receiver.ids)) == len(feed))
    assert receiver.ids == feed


@pytest.mark.long
def test_a_relay_that_dies_while_it_brings_a_feed_leaves_it_to_the_other(crowd: Crowd, receiver: Receiver) -> None:
    for name in ("clock-1", "clock-2"):
        with LoadOfBoth(crowd, rate=30, clients=6) as load:
            load.wait_for(30)
            crowd.kill_one(name)
            load.wait_for(30)
            outcomes = all_end_without(crowd, load, name)
        assert set(outcomes) == {"completed"}
        feed = [str(item["message"]["id"]) for item in whole_feed(crowd.portal)]
        wait_for("all of it is brought", lambda feed=feed: set(receiver.ids) >= set(feed))  # type: ignore[misc]
        # One that was under way comes again; the order of the first times is that of the feed.
        assert list(dict.fromkeys(receiver.ids)) == feed
        crowd.start()
    assert_all_is_well(crowd)


def all_end_without(crowd: Crowd, load: Load, dead: str) -> Counter[str]:
    """As `all_end`, while one process stays dead."""
    gone = crowd.processes.pop(dead)
    assert gone.poll() is not None
    return all_end(crowd, load)
