"""RabbitMQ and the network before it fail: nothing confirmed is lost, nothing hangs, and work goes on by itself."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from bus.bench.services import RabbitNode
from bus.brokers.rabbitmq import Patience, RabbitBroker
from bus.errors import BrokerBusyError, BrokerUnavailableError, ConfigurationError
from bus.message.channel import tasks
from bus.ports import Confirmation, Consumer, Publisher
from tests.conformance.broker_contract import Said, bodies, numbered, outgoing
from tests.support.proxy import Proxy, Weather, proxy
from tests.support.services import Vhost, new_vhost

CONFIRMED = Confirmation.CONFIRMED
ROOT = Path(__file__).parents[2]

#: Seconds until a failure must have been told; each wait of the broker is far shorter.
BOUND = 40.0
#: Short, so that the suite is: heartbeats of one second are missed after six.
QUICK = Patience(timeout=1_000, heartbeat=1_000, watch=1_000)
CHANNEL = tasks("civil_registry")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A node of this suite's own, up again at the start of each test."""
    with RabbitNode(tmp_path_factory.mktemp("rabbit")) as started:
        yield started


@pytest.fixture
def place(node: RabbitNode) -> Iterator[Vhost]:
    node.start()
    made = new_vhost(node.admin)
    yield made
    node.start()
    node.admin.drop_vhost(made.name)


@pytest.fixture
def network(place: Vhost) -> Iterator[Proxy]:
    with proxy(place.admin.hosts) as before:
        yield before


@pytest.fixture
def rabbit(place: Vhost) -> Iterator[RabbitBroker]:
    """Straight to the node."""
    broker = RabbitBroker(place.url, user=place.user, password=place.password, patience=QUICK)
    broker.apply([CHANNEL])
    yield broker
    broker.close()


@pytest.fixture
def through(place: Vhost, network: Proxy) -> Iterator[RabbitBroker]:
    """Through the network that misbehaves."""
    port = urlsplit(place.url).port
    url = place.url.replace(f":{port}/", f":{network.port}/")
    broker = RabbitBroker(url, user=place.user, password=place.password, patience=QUICK)
    broker.apply([CHANNEL])
    yield broker
    broker.close()


class Load:
    """A publisher and a consumer at work, each beginning anew whenever its connection fails."""

    def __init__(self, publishing: RabbitBroker, consuming: RabbitBroker) -> None:
        self._publishing = publishing
        self._consuming = consuming
        #: Bodies, as they were confirmed and as they were acknowledged.
        self.confirmed: set[bytes] = set()
        self.settled: set[bytes] = set()
        #: How often each of them had to begin anew.
        self.failures = {"publisher": 0, "consumer": 0}
        self._stop = threading.Event()
        self._drained = threading.Event()
        self._pool = ThreadPoolExecutor(2)
        self._works = [self._pool.submit(self._publish), self._pool.submit(self._consume)]

    def until(self, true: Callable[[], bool]) -> None:
        """Let it go on until that is so."""
        until = time.monotonic() + BOUND
        try:
            while not true():
                assert time.monotonic() < until, (len(self.confirmed), len(self.settled), self.failures)
                self._stop.wait(0.02)
        except BaseException:
            # The interpreter would wait at its end for those who go on for ever.
            self._stop.set()
            self._drained.set()
            raise

    def until_more(self, many: int = 200) -> None:
        """Let it go on until so many more were confirmed, and so many more settled."""
        confirmed, settled = len(self.confirmed), len(self.settled)
        self.until(lambda: len(self.confirmed) >= confirmed + many and len(self.settled) >= settled + many)

    def finish(self) -> None:
        """Publish no more, and settle what is there."""
        self._stop.set()
        self._works[0].result(BOUND)
        until = time.monotonic() + BOUND
        while not self.confirmed <= self.settled and time.monotonic() < until:
            self._drained.wait(0.02)
        self._drained.set()
        self._works[1].result(BOUND)
        self._pool.shutdown()

    def _publish(self) -> None:
        numbers = count()
        publisher: Publisher | None = None
        while not self._stop.is_set():
            batch = [outgoing(CHANNEL, b"%07d" % next(numbers)) for _ in range(50)]
            try:
                publisher = publisher or self._publishing.publisher()
                told = publisher.publish(batch)
            except BrokerUnavailableError:
                self.failures["publisher"] += 1
                _close(publisher)
                publisher = None
                continue
            self.confirmed |= {one.body for one, says in zip(batch, told, strict=True) if says is CONFIRMED}
        _close(publisher)

    def _consume(self) -> None:
        consumer: Consumer | None = None
        while not self._drained.is_set():
            try:
                consumer = consumer or self._consuming.consumer([CHANNEL], 200)
                found = consumer.collect(100, 100)
                consumer.acknowledge(found)
            except BrokerUnavailableError:
                self.failures["consumer"] += 1
                _close(consumer)
                consumer = None
                continue
            self.settled |= set(bodies(found))
        _close(consumer)


def _close(user: Publisher | Consumer | None) -> None:
    if user is not None:
        user.close()


def in_time(work: Callable[[], object]) -> object:
    """What it gives or raises; the test fails if it does neither within the bound."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(BOUND)


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + BOUND
    while not true():
        assert time.monotonic() < until
        threading.Event().wait(0.05)


# --- the broker -------------------------------------------------------------------------------------------------------


def test_connections_that_an_operator_closes_cost_no_confirmed_message(rabbit: RabbitBroker, place: Vhost) -> None:
    load = Load(rabbit, rabbit)
    load.until_more()

    for _ in range(3):
        before = dict(load.failures)

        def both_failed(before: dict[str, int] = before) -> bool:
            # The broker lists a new connection late.
            close_all(place)
            return all(load.failures[each] > before[each] for each in before)

        load.until(both_failed)
        load.until_more()

    load.finish()
    assert load.confirmed <= load.settled


def close_all(place: Vhost) -> int:
    """Close the connections of a publisher and a consumer, as an operator does; how many there were."""
    found = place.admin.ask("GET", f"/api/vhosts/{place.name}/connections")
    users = [
        each for each in found if not each.get("client_properties", {}).get("connection_name", "").endswith("admin")
    ]
    closed = 0
    for each in users:
        with suppress(Exception):
            place.admin.ask("DELETE", f"/api/connections/{quote(each['name'])}")
            closed += 1
    return closed


def test_a_node_that_is_killed_and_comes_back_has_kept_what_it_confirmed(
    rabbit: RabbitBroker, node: RabbitNode
) -> None:
    load = Load(rabbit, rabbit)
    for _ in range(2):
        load.until_more()

        node.wait_until_written()
        node.kill()
        load.until(lambda: min(load.failures.values()) > 0)
        node.start()

    load.until_more()
    load.finish()
    assert load.confirmed <= load.settled


def test_a_node_that_hangs_is_given_up_and_used_again_when_it_goes_on(rabbit: RabbitBroker, node: RabbitNode) -> None:
    load = Load(rabbit, rabbit)
    load.until_more()

    node.pause()
    try:
        load.until(lambda: min(load.failures.values()) > 0)
    finally:
        node.resume()

    load.until_more()
    load.finish()
    assert load.confirmed <= load.settled


@pytest.mark.parametrize("alarm", ["memory", "disk"])
def test_a_broker_that_takes_nothing_says_so_and_its_consumers_go_on(
    rabbit: RabbitBroker, node: RabbitNode, alarm: str
) -> None:
    set_alarm = node.memory_alarm if alarm == "memory" else node.disk_alarm
    publisher, consumer = rabbit.publisher(), rabbit.consumer([CHANNEL], 10)
    publisher.publish(numbered(CHANNEL, 30))
    set_alarm(on=True)
    try:
        # The broker says that it takes nothing only to whoever publishes; that one is told when his time is over.
        told: list[Said] = []
        with suppress(BrokerUnavailableError):
            publisher.post([outgoing(CHANNEL, b"alarm")], told.append)
        with pytest.raises(BrokerBusyError):
            in_time(lambda: post_until_refused(publisher))
        eventually(lambda: told == [None])
        with pytest.raises(BrokerUnavailableError):
            in_time(lambda: rabbit.publisher().publish([outgoing(CHANNEL)]))

        found = 0
        while found < 30:
            batch = consumer.collect(10, 10_000)
            assert batch
            consumer.acknowledge(batch)
            found += len(batch)
    finally:
        set_alarm(on=False)

    publisher.close()
    assert rabbit.publisher().publish([outgoing(CHANNEL)]) == (CONFIRMED,)


def post_until_refused(publisher: Publisher) -> None:
    while True:
        publisher.post([outgoing(CHANNEL)], lambda _said: None)
        threading.Event().wait(0.01)


def test_a_channel_that_vanishes_under_load_is_unroutable_and_another_flows(rabbit: RabbitBroker, place: Vhost) -> None:
    gone = tasks("gone")
    rabbit.apply([gone])
    publisher = rabbit.publisher()
    told: list[Said] = []
    batches = [numbered(gone if number % 2 else CHANNEL, 50, of=f"{number}-") for number in range(40)]

    for number, batch in enumerate(batches):
        publisher.post(batch, told.append)
        if number == 20:
            place.admin.ask("DELETE", f"/api/exchanges/{place.name}/{gone}")
    publisher.close()

    assert len(told) == 40
    assert None not in told
    assert {says for said in told for says in said or ()} == {CONFIRMED, Confirmation.UNROUTABLE}
    sent = {body for batch in batches for body in bodies(batch) if batch[0].channel == CHANNEL}
    consumer = rabbit.consumer([CHANNEL], 500)
    found: set[bytes] = set()
    while found < sent:
        brought = consumer.collect(500, 10_000)
        assert brought
        consumer.acknowledge(brought)
        found |= set(bodies(brought))
    assert found == sent


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weather", [Weather.SLOW, Weather.TRICKLE])
def test_a_bad_line_costs_time_and_nothing_else(through: RabbitBroker, network: Proxy, weather: Weather) -> None:
    publisher, consumer = through.publisher(), through.consumer([CHANNEL], 200)
    network.weather = weather

    told = publisher.publish(numbered(CHANNEL, 20))

    assert told == (CONFIRMED,) * 20
    found: list[bytes] = []
    while len(found) < 20:
        batch = consumer.collect(20, 30_000)
        assert batch
        consumer.acknowledge(batch)
        found += bodies(batch)
    assert found == bodies(numbered(CHANNEL, 20))


def test_links_that_break_again_and_again_cost_no_confirmed_message(through: RabbitBroker, network: Proxy) -> None:
    load = Load(through, through)
    for _ in range(5):
        load.until_more()
        before = load.failures["publisher"]
        network.reset()
        load.until(lambda before=before: load.failures["publisher"] > before)  # type: ignore[misc]

    load.until_more()
    load.finish()
    assert load.confirmed <= load.settled


def test_a_line_that_swallows_everything_is_noticed_by_both_ends_of_the_work(
    through: RabbitBroker, network: Proxy
) -> None:
    load = Load(through, through)
    load.until_more()

    network.weather = Weather.BLACK_HOLE
    load.until(lambda: min(load.failures.values()) > 0)
    network.weather = Weather.FAIR

    load.until_more()
    load.finish()
    assert load.confirmed <= load.settled


def test_nothing_that_is_asked_through_a_black_hole_hangs(through: RabbitBroker, network: Proxy) -> None:
    publisher, consumer = through.publisher(), through.consumer([CHANNEL], 10)
    assert through.depth(CHANNEL) == 0
    network.weather = Weather.BLACK_HOLE

    uses: list[Callable[[], object]] = [
        lambda: publisher.publish([outgoing(CHANNEL)]),
        lambda: consumer.collect(10, 3_600_000),
        lambda: through.depth(CHANNEL),
        lambda: through.apply([CHANNEL]),
        lambda: through.has_epoch("none"),
        through.publisher,
        lambda: through.consumer([CHANNEL], 10),
    ]
    for use in uses:
        with pytest.raises(BrokerUnavailableError):
            in_time(use)
    in_time(publisher.close)
    in_time(consumer.close)
    in_time(through.close)


def test_whoever_closes_while_the_line_is_dead_is_not_held_up(through: RabbitBroker, network: Proxy) -> None:
    publisher, consumer = through.publisher(), through.consumer([CHANNEL], 10)
    told: list[Said] = []
    network.weather = Weather.BLACK_HOLE
    publisher.post(numbered(CHANNEL, 10), told.append)

    in_time(publisher.close)
    in_time(consumer.close)

    assert told == [None]


def test_after_a_black_hole_the_admin_asks_over_a_new_connection(through: RabbitBroker, network: Proxy) -> None:
    assert through.depth(CHANNEL) == 0
    network.weather = Weather.BLACK_HOLE
    with pytest.raises(BrokerUnavailableError):
        in_time(lambda: through.depth(CHANNEL))
    network.weather = Weather.FAIR

    assert in_time(lambda: through.depth(CHANNEL)) == 0


# --- encryption -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a development authority and a certificate for this machine."""
    folder = tmp_path_factory.mktemp("ca") / "made"
    subprocess.run([str(ROOT / "scripts/make-development-ca"), str(folder), "broker"], check=True, capture_output=True)
    return folder


def served_as(authority: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority / "broker.pem", authority / "broker.key")
    return context


def encrypted(place: Vhost, network: Proxy, ca: Path | None) -> RabbitBroker:
    url = f"amqps://{network.host}:{network.port}/{place.name}"
    return RabbitBroker(url, user=place.user, password=place.password, ca=ca)


def test_an_encrypted_line_carries_what_a_plain_one_does(place: Vhost, authority: Path) -> None:
    with proxy(place.admin.hosts, tls=served_as(authority)) as network:
        broker = encrypted(place, network, authority / "ca.pem")
        broker.apply([CHANNEL])
        load = Load(broker, broker)

        load.until_more(2000)

        load.finish()
        assert load.confirmed <= load.settled
        assert load.failures == {"publisher": 0, "consumer": 0}
        broker.close()


@pytest.mark.parametrize(
    ("host", "knows_authority"),
    [("127.0.0.1", False), ("127.0.0.2", True)],
    ids=["unknown-authority", "another-host"],
)
def test_a_broker_that_cannot_prove_who_it_is_is_not_spoken_to(
    place: Vhost, authority: Path, host: str, *, knows_authority: bool
) -> None:
    with proxy(place.admin.hosts, host=host, tls=served_as(authority)) as network:
        broker = encrypted(place, network, authority / "ca.pem" if knows_authority else None)

        with pytest.raises(BrokerUnavailableError, match=r"SSL|[Cc]ertificate"):
            broker.publisher()

        broker.close()


def test_an_authority_that_cannot_be_read_is_told_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.pem"):
        RabbitBroker("amqps://127.0.0.1/bus", user="bus", password="p", ca=tmp_path / "none.pem")
