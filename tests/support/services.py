"""RabbitMQ and PostgreSQL for every suite: one shared of each a run with a place of its own a test, or private ones.

The shared ones are started when the first test asks for them, or taken from the environment: ``BUS_TEST_BROKER_URL``
(``amqp://user:password@host:port``) with ``BUS_TEST_BROKER_MANAGEMENT_URL``, and ``BUS_TEST_STORE_URL``. Private ones
are always started: nobody kills what is shared. Where nothing can be started the test fails with the mend.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from bus.bench.services import PostgresNode, RabbitAdmin, RabbitCluster, RabbitNode, drop_database, make_database
from bus.bench.services import rabbit_cluster as start_cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Vhost:
    """A vhost of its own in a RabbitMQ, empty, with an administrator who may do everything in it."""

    name: str
    admin: RabbitAdmin

    @property
    def url(self) -> str:
        """``amqp://host:port/vhost``, without user and password."""
        return self.admin.url(self.name)

    @property
    def url_with_user(self) -> str:
        """The same with the administrator in it, as pika takes it."""
        return self.admin.url_with_user(self.name)

    @property
    def user(self) -> str:
        """The administrator's."""
        return self.admin.user

    @property
    def password(self) -> str:
        """The administrator's."""
        return self.admin.password


def new_vhost(admin: RabbitAdmin) -> Vhost:
    """Make one; it goes with its node, or when somebody drops it."""
    name = f"test-{secrets.token_hex(6)}"
    admin.make_vhost(name)
    return Vhost(name=name, admin=admin)


@pytest.fixture(scope="session")
def shared_rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitAdmin]:
    """One RabbitMQ 4 for the whole run."""
    if url := os.environ.get("BUS_TEST_BROKER_URL"):
        parts = urlsplit(url)
        yield RabbitAdmin(
            hosts=f"{parts.hostname}:{parts.port or 5672}",
            management=os.environ.get("BUS_TEST_BROKER_MANAGEMENT_URL", f"http://{parts.hostname}:15672").rstrip("/"),
            user=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
        )
        return
    with RabbitNode(tmp_path_factory.mktemp("rabbit")) as node:
        yield node.admin


@pytest.fixture
def vhost(shared_rabbit: RabbitAdmin) -> Iterator[Vhost]:
    """An empty vhost for one test, in the shared RabbitMQ."""
    made = new_vhost(shared_rabbit)
    yield made
    shared_rabbit.drop_vhost(made.name)


@pytest.fixture(scope="class")
def class_vhost(shared_rabbit: RabbitAdmin) -> Iterator[Vhost]:
    """A vhost for all tests of a class, or of a file without classes."""
    made = new_vhost(shared_rabbit)
    yield made
    shared_rabbit.drop_vhost(made.name)


@pytest.fixture(scope="session")
def old_rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitAdmin]:
    """The RabbitMQ of the machine's own packages, for the whole run: on Debian 12 a 3.10."""
    with RabbitNode(tmp_path_factory.mktemp("old-rabbit"), release="debian") as node:
        yield node.admin


@pytest.fixture
def old_vhost(old_rabbit: RabbitAdmin) -> Iterator[Vhost]:
    """An empty vhost for one test, in the old RabbitMQ."""
    made = new_vhost(old_rabbit)
    yield made
    old_rabbit.drop_vhost(made.name)


@pytest.fixture
def rabbit_node(tmp_path: Path) -> Iterator[RabbitNode]:
    """A private RabbitMQ 4, to kill, pause, wipe and starve."""
    with RabbitNode(tmp_path / "rabbit") as node:
        yield node


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RabbitCluster]:
    """A private cluster of three RabbitMQ nodes, which can be cut apart."""
    with start_cluster(tmp_path / "cluster") as nodes:
        yield nodes


@pytest.fixture(scope="session")
def shared_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The administrator's URL of one PostgreSQL for the whole run, quick because a crash may cost it its data."""
    if url := os.environ.get("BUS_TEST_STORE_URL"):
        yield url
        return
    with PostgresNode(tmp_path_factory.mktemp("postgres"), settings={"fsync": "off"}) as node:
        yield node.url


@pytest.fixture
def make_new_database(shared_postgres: str) -> Iterator[Callable[..., str]]:
    """``make_new_database(template="template1")``: the URL of a new database, dropped after the test."""
    with ExitStack() as dropped:

        def make(template: str = "template1") -> str:
            name = f"test_{secrets.token_hex(6)}"
            url = make_database(shared_postgres, name, template=template)
            dropped.callback(drop_database, shared_postgres, name)
            return url

        yield make


@pytest.fixture
def database(make_new_database: Callable[..., str]) -> str:
    """The URL of an empty database for one test."""
    return make_new_database()


@pytest.fixture
def postgres_node(tmp_path: Path) -> Iterator[PostgresNode]:
    """A private PostgreSQL that keeps its promises, to kill, pause and restart."""
    with PostgresNode(tmp_path / "postgres") as node:
        yield node
