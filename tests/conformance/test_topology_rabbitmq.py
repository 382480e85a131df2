"""A RabbitMQ that has imported the definitions lets each user do its own, and refuses everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeAlias

import pika  # type: ignore[import-untyped]
import pytest
from pika.adapters.blocking_connection import BlockingChannel  # type: ignore[import-untyped]
from pika.exceptions import (  # type: ignore[import-untyped]
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from bus.bench.services import RabbitAdmin
from bus.brokers.definitions import User, definitions, password_hash
from bus.brokers.rabbitmq import RabbitBroker
from bus.brokers.topology import EPOCH_PREFIX, Topology, topology
from bus.message.channel import BUS_USER, host_user

#: Names that differ by one sign, which a pattern that is not anchored or not escaped takes for each other.
AGENCIES = ("land-registry", "land_registry", "land", "registry")
OWN = host_user("land-registry")
VHOST = "topology-test"

Deed: TypeAlias = Callable[[BlockingChannel], Any]


@pytest.fixture(scope="module", params=["shared_rabbit", "old_rabbit"])
def rabbit(request: pytest.FixtureRequest) -> Iterator[RabbitAdmin]:
    """RabbitMQ 4 and the old one, each with the definitions imported."""
    admin: RabbitAdmin = request.getfixturevalue(request.param)
    load(admin, wanted())
    yield admin
    admin.drop_vhost(VHOST)
    for rights in wanted().rights:
        admin.ask("DELETE", f"/api/users/{rights.user}")


def wanted() -> Topology:
    return topology(AGENCIES, VHOST, 1)


def password_of(user: str) -> str:
    return f"كلمة سر {user}"


def load(admin: RabbitAdmin, made: Topology) -> None:
    """Import the definitions of the topology."""
    users = [User(name=one.user, password_hash=password_hash(password_of(one.user), b"salt")) for one in made.rights]
    admin.ask("POST", "/api/definitions", definitions(made, users))


@contextmanager
def speaking(admin: RabbitAdmin, user: str, password: str | None = None) -> Iterator[BlockingChannel]:
    host, _, port = admin.hosts.partition(":")
    login = pika.PlainCredentials(user, password or password_of(user))
    parameters = pika.ConnectionParameters(host, int(port), VHOST, login)
    with closing(pika.BlockingConnection(parameters)) as connection:
        amqp = connection.channel()
        amqp.confirm_delivery()
        yield amqp


def publish(name: str, key: str | None = None, sender: str | None = None) -> Deed:
    properties = pika.BasicProperties(user_id=sender, delivery_mode=2)
    return lambda amqp: amqp.basic_publish(name, name if key is None else key, b"{}", properties, mandatory=True)


def take(name: str) -> Deed:
    def deed(amqp: BlockingChannel) -> Any:
        for method, properties, body in amqp.consume(name, inactivity_timeout=5):
            return None if method is None else (amqp.basic_ack(method.delivery_tag), properties, body)
        return None

    return deed


def attempt(admin: RabbitAdmin, user: str, deed: Deed) -> int:
    """Do it as the user; the code with which the broker refused, 0 where it did not."""
    with speaking(admin, user) as amqp:
        try:
            deed(amqp)
        except ChannelClosedByBroker as error:
            return int(error.reply_code)
    return 0


def test_a_host_publishes_its_own_replies_and_the_bus_takes_them_with_the_name_of_the_host(rabbit: RabbitAdmin) -> None:
    assert attempt(rabbit, OWN, publish("replies.land-registry", sender=OWN)) == 0

    with speaking(rabbit, BUS_USER) as amqp:
        _, properties, body = take("replies.land-registry")(amqp)

    assert (properties.user_id, body) == (OWN, b"{}")


@pytest.mark.parametrize("name", ["tasks.land-registry", "control.land-registry"])
def test_the_bus_publishes_what_is_for_a_host_and_the_host_takes_it(rabbit: RabbitAdmin, name: str) -> None:
    assert attempt(rabbit, BUS_USER, publish(name, sender=BUS_USER)) == 0

    with speaking(rabbit, OWN) as amqp:
        _, properties, body = take(name)(amqp)

    assert (properties.user_id, body) == (BUS_USER, b"{}")


REFUSED: list[tuple[str, Deed]] = [
    ("publish to the replies of another", publish("replies.land_registry")),
    ("publish to the replies of one whose name begins alike", publish("replies.land")),
    ("publish to the replies of one whose name ends alike", publish("replies.registry")),
    ("publish to its own tasks", publish("tasks.land-registry")),
    ("publish to its own control", publish("control.land-registry")),
    ("publish to poison", publish("poison")),
    ("publish past the exchange", publish("", key="replies.land-registry")),
    ("publish past the exchange to another", publish("", key="replies.land_registry")),
    ("publish to amq.topic", publish("amq.topic")),
    ("publish to amq.direct", publish("amq.direct")),
    ("publish to amq.fanout", publish("amq.fanout")),
    ("read its own replies", take("replies.land-registry")),
    ("read the tasks of another", take("tasks.land_registry")),
    ("read the control of another", take("control.land")),
    ("read poison", take("poison")),
    ("empty its own replies", lambda amqp: amqp.queue_purge("replies.land-registry")),
    ("empty the tasks of another", lambda amqp: amqp.queue_purge("tasks.land_registry")),
    ("declare a queue", lambda amqp: amqp.queue_declare("tasks.new", durable=True)),
    ("declare a queue without a name", lambda amqp: amqp.queue_declare("", exclusive=True)),
    ("declare its own queue again", lambda amqp: amqp.queue_declare("tasks.land-registry", durable=True)),
    ("declare an exchange", lambda amqp: amqp.exchange_declare("replies.new")),
    ("delete its own queue", lambda amqp: amqp.queue_delete("tasks.land-registry")),
    ("delete its own exchange", lambda amqp: amqp.exchange_delete("replies.land-registry")),
    ("take its tasks off their exchange", lambda amqp: amqp.queue_unbind(*["tasks.land-registry"] * 3)),
    ("take its replies off their exchange", lambda amqp: amqp.queue_unbind(*["replies.land-registry"] * 3)),
    ("listen to the tasks of another", lambda amqp: amqp.queue_bind("replies.land-registry", "tasks.land")),
    ("listen to the replies of another", lambda amqp: amqp.queue_bind("replies.land-registry", "replies.land")),
    ("put its replies into those of another", lambda amqp: amqp.exchange_bind("replies.land", "tasks.land-registry")),
]


@pytest.mark.parametrize(("what", "deed"), REFUSED, ids=[what for what, _ in REFUSED])
def test_a_host_may_not(rabbit: RabbitAdmin, what: str, deed: Deed) -> None:
    assert attempt(rabbit, OWN, deed) == 403, what


@pytest.mark.parametrize("sender", [BUS_USER, host_user("land_registry"), "guest", ""])
def test_a_host_cannot_speak_under_another_name(rabbit: RabbitAdmin, sender: str) -> None:
    assert attempt(rabbit, OWN, publish("replies.land-registry", sender=sender)) == 406


@pytest.mark.parametrize("name", ["amq.topic", "amq.direct", ""])
def test_the_bus_itself_publishes_to_its_own_channels_only(rabbit: RabbitAdmin, name: str) -> None:
    assert attempt(rabbit, BUS_USER, publish(name, key="tasks.land")) == 403


def test_a_host_without_its_password_or_outside_of_the_bus_gets_nowhere(rabbit: RabbitAdmin) -> None:
    with pytest.raises(ProbableAuthenticationError), speaking(rabbit, OWN, "guess"):
        pass
    rabbit.make_vhost("topology-test-other")
    try:
        host, _, port = rabbit.hosts.partition(":")
        login = pika.PlainCredentials(OWN, password_of(OWN))
        with pytest.raises(ProbableAccessDeniedError):
            pika.BlockingConnection(pika.ConnectionParameters(host, int(port), "topology-test-other", login))
    finally:
        rabbit.drop_vhost("topology-test-other")


def test_the_same_definitions_are_imported_again_and_nothing_changes(rabbit: RabbitAdmin) -> None:
    before = rabbit.ask("GET", f"/api/definitions/{VHOST}")
    attempt(rabbit, BUS_USER, publish("tasks.land"))

    load(rabbit, wanted())

    after = rabbit.ask("GET", f"/api/definitions/{VHOST}")
    assert standing(after) == standing(before)
    with speaking(rabbit, host_user("land")) as amqp:
        assert take("tasks.land")(amqp) is not None, "what was in the queue is gone"


def standing(exported: Any) -> dict[str, list[Any]]:
    """What a broker says that stands in it, but the marks of epochs, in an order of its own."""
    return {
        kind: sorted(repr(one) for one in exported[kind] if not one.get("name", "").startswith(EPOCH_PREFIX))
        for kind in ("exchanges", "queues", "bindings")
    }


def test_what_the_definitions_made_the_bus_finds_as_it_would_make_it(rabbit: RabbitAdmin) -> None:
    before = rabbit.ask("GET", f"/api/definitions/{VHOST}")
    broker = RabbitBroker(rabbit.url(VHOST), user=BUS_USER, password=password_of(BUS_USER))
    with closing(broker):
        broker.apply([one.name for one in wanted().declarations])
        broker.begin_epoch("e1")
        assert broker.has_epoch("e1")

    assert standing(rabbit.ask("GET", f"/api/definitions/{VHOST}")) == standing(before)


def test_the_bus_needs_no_other_right_to_make_everything(rabbit: RabbitAdmin) -> None:
    # Given a virtual host with nothing in it but the rights of the bus
    empty = topology((), "topology-test-empty", 1)
    load(rabbit, empty)
    try:
        broker = RabbitBroker(rabbit.url(empty.vhost), user=BUS_USER, password=password_of(BUS_USER))
        # When the bus makes its channels
        with closing(broker):
            broker.apply([one.name for one in topology(AGENCIES, empty.vhost, 1).declarations])
        # Then they are those of the definitions
        made = rabbit.ask("GET", f"/api/definitions/{empty.vhost}")
        assert standing(made) == standing(rabbit.ask("GET", f"/api/definitions/{VHOST}"))
    finally:
        rabbit.drop_vhost(empty.vhost)
