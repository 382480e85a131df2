"""The private services that suites and benchmarks start: they can be hurt in every way, and nothing of them stays."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pika  # type: ignore[import-untyped]
import psycopg
import pytest

from bus.bench.services import (
    PostgresNode,
    RabbitCluster,
    RabbitNode,
    RedisNode,
    ServiceError,
    place,
    postgres,
    rabbit_programs,
)
from bus.bench.services import redis as redis_service
from bus.bench.services.network import Network
from tests.support.services import Vhost

ROOT = Path(__file__).parents[2]
NOBODY = 65534
#: Seconds within which what must happen has happened, also on a busy machine.
PATIENCE = 40.0


def wait_for(look: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE
    while not look():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def connected(url: str) -> pika.BlockingConnection:
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.stack_timeout = 10
    return pika.BlockingConnection(parameters)


def put(url: str, body: bytes) -> None:
    """Leave one confirmed message in the quorum queue ``kept``."""
    with connected(url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", "kept", body, pika.BasicProperties(delivery_mode=2), mandatory=True)


def take(url: str) -> bytes | None:
    """What waits in the queue ``kept``, which stays there; None where nothing does."""
    with connected(url) as connection:
        body: bytes | None = connection.channel().basic_get("kept")[2]
        return body


def has_it(url: str, body: bytes) -> bool:
    """Whether it waits in the queue ``kept``; no, while the nodes elect who answers for the queue."""
    try:
        return take(url) == body
    except pika.exceptions.AMQPError:
        return False


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    with RabbitNode(tmp_path_factory.mktemp("node")) as started:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresNode]:
    with PostgresNode(tmp_path_factory.mktemp("server")) as started:
        yield started


# --- RabbitMQ ---------------------------------------------------------------------------------------------------------


def test_rabbitmq_that_decides_is_a_4(node: RabbitNode) -> None:
    assert node.version.startswith("4.")


def test_a_killed_rabbitmq_comes_back_on_its_ports_with_what_it_confirmed(node: RabbitNode) -> None:
    put(node.admin.url_with_user(), b"before the crash")
    node.wait_until_written()
    before = node.pids
    node.kill()
    assert not [pid for pid in before if Path(f"/proc/{pid}").exists()]
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        connected(node.admin.url_with_user())
    node.start()
    assert take(node.admin.url_with_user()) == b"before the crash"


def test_a_restarted_rabbitmq_has_what_it_had(node: RabbitNode) -> None:
    put(node.admin.url_with_user(), b"kept")
    before = node.pids[0]
    node.restart()
    assert node.pids[0] != before
    assert take(node.admin.url_with_user()) is not None


def test_a_paused_rabbitmq_answers_nobody_until_it_goes_on(node: RabbitNode) -> None:
    node.pause()
    try:
        with socket.create_connection((node.seat.host, node.seat.amqp), 5) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):
                connection.recv(1)
    finally:
        node.resume()
    with connected(node.admin.url_with_user()) as answered:
        assert answered.is_open


def test_an_alarm_holds_publishers_until_it_is_over(node: RabbitNode) -> None:
    for alarm, resource in ((node.memory_alarm, "memory"), (node.disk_alarm, "disk")):
        alarm(on=True)
        try:
            assert node.admin.alarms() == {resource}
        finally:
            alarm(on=False)
        assert node.admin.alarms() == set()


def test_a_wiped_rabbitmq_starts_empty_or_with_the_definitions_that_it_is_given(
    node: RabbitNode, tmp_path: Path
) -> None:
    put(node.admin.url_with_user(), b"lost")
    definitions = {
        "vhosts": [{"name": "given"}],
        "users": [],
        "queues": [{"vhost": "given", "name": "kept", "durable": True, "arguments": {"x-queue-type": "quorum"}}],
    }
    (tmp_path / "definitions.json").write_text(json.dumps(definitions), encoding="utf-8")
    node.wipe(tmp_path / "definitions.json")
    assert [(queue["vhost"], queue["name"]) for queue in node.admin.ask("GET", "/api/queues")] == [("given", "kept")]
    assert take(node.admin.url_with_user("given")) is None


def test_what_rabbitmqctl_refuses_is_told(node: RabbitNode) -> None:
    with pytest.raises(ServiceError, match="no_such_vhost"):
        node.ctl("delete_vhost", "no_such_vhost")


def test_each_test_has_a_vhost_of_its_own_in_the_old_rabbitmq_too(vhost: Vhost, old_vhost: Vhost) -> None:
    for own in (vhost, old_vhost):
        put(own.url_with_user, own.name.encode())
        assert take(own.url_with_user) == own.name.encode()
        assert [queue["name"] for queue in own.admin.ask("GET", f"/api/queues/{own.name}")] == ["kept"]


def test_a_node_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"(?s)RabbitMQ starts: the program ended instead.*no_such_setting"):
        RabbitNode(tmp_path / "rabbit", settings={"no_such_setting": "1"}).start()


def test_a_node_that_is_cut_off_hears_its_clients_and_not_the_others(cluster: RabbitCluster) -> None:
    lonely, *majority = cluster.nodes
    put(cluster.admin.url_with_user(), b"known to all")
    cluster.isolate(lonely)
    assert wait_for(lambda: lonely.running() == {lonely.name})
    assert wait_for(lambda: majority[0].running() == {node.name for node in majority})
    with connected(lonely.admin.url_with_user()) as connection:
        assert connection.is_open
    cluster.heal()
    assert wait_for(lambda: has_it(lonely.admin.url_with_user(), b"known to all"))


# --- PostgreSQL and Redis ---------------------------------------------------------------------------------------------


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True, connect_timeout=2) as connection:
        done = connection.execute(statement)
        return done.fetchall() if done.description else []


def test_a_killed_postgresql_comes_back_with_what_was_committed(server: PostgresNode) -> None:
    url = server.make_database("killed")
    rows(url, "CREATE TABLE kept AS SELECT 1 AS id")
    server.kill()
    with pytest.raises(psycopg.OperationalError):
        rows(url, "SELECT 1")
    server.start()
    assert rows(url, "SELECT id FROM kept") == [(1,)]


def test_a_restarted_postgresql_does_not_wait_for_its_clients(server: PostgresNode) -> None:
    with psycopg.connect(server.url) as connection:
        server.restart()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert rows(server.url, "SELECT 1") == [(1,)]


def test_a_paused_postgresql_answers_nobody_until_it_goes_on(server: PostgresNode) -> None:
    server.pause()
    try:
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            rows(server.url, "SELECT 1")
    finally:
        server.resume()
    assert rows(server.url, "SELECT 1") == [(1,)]


def test_a_wiped_postgresql_starts_empty(server: PostgresNode) -> None:
    server.make_database("lost")
    server.wipe()
    assert rows(server.url, "SELECT 1 FROM pg_database WHERE datname = 'lost'") == []


def test_each_test_has_a_database_of_its_own_which_may_be_a_copy(make_new_database: Callable[..., str]) -> None:
    template = make_new_database()
    rows(template, "CREATE TABLE copied AS SELECT 1 AS id")
    copy, empty = make_new_database(template=template.rpartition("/")[2]), make_new_database()
    assert rows(copy, "SELECT id FROM copied") == [(1,)]
    assert rows(empty, "SELECT to_regclass('copied')") == [(None,)]


def test_redis_answers_and_is_gone_after_its_with(tmp_path: Path) -> None:
    with RedisNode(tmp_path / "redis") as redis, socket.create_connection(("127.0.0.1", redis.port), 5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(64) == b"+PONG\r\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", redis.port), 5)


# --- what is missing, and what stays ----------------------------------------------------------------------------------


def test_a_service_that_is_not_installed_is_told_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("BUS_SERVICES_DIR", str(tmp_path))
    monkeypatch.setattr(rabbit_programs, "PROGRAMS", tmp_path)
    monkeypatch.setattr(postgres, "RELEASES", tmp_path)
    place.docker_works.cache_clear()
    finds: tuple[Callable[[], object], ...] = (
        partial(rabbit_programs.find, "4"),
        partial(rabbit_programs.find, "debian"),
        postgres.find,
        redis_service.find,
        partial(Network, tmp_path, 3),
    )
    try:
        for find in finds:
            with pytest.raises(ServiceError, match=r"There is no .*make services"):
                find()
    finally:
        place.docker_works.cache_clear()


#: Starts one of each, tells their processes, and does nothing more.
PARENT = """
import json, pathlib, sys, time
from bus.bench.services import PostgresNode, RabbitNode, RedisNode
folder = pathlib.Path(sys.argv[1])
nodes = [RabbitNode(folder / "rabbit"), PostgresNode(folder / "postgres"), RedisNode(folder / "redis")]
for node in nodes:
    node.start()
print(json.dumps([pid for node in nodes for pid in node.pids]), flush=True)
time.sleep(1000)
"""


def test_nothing_is_left_running_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        assert parent.stdout
        pids = json.loads(parent.stdout.readline())
        assert len(pids) > 8  # the VM, its register and its ports; the server and its backends; Redis
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        os.killpg(parent.pid, signal.SIGKILL)
    assert wait_for(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])


def run_services(environment: dict[str, str], *, as_nobody: bool = False) -> subprocess.CompletedProcess[str]:
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return subprocess.run(
        [*(drop if as_nobody and os.geteuid() == 0 else []), "scripts/services"],
        cwd=ROOT,
        env={**os.environ, "HOME": "/", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_who_is_not_root_is_told_the_command_that_installs_the_services(tmp_path: Path) -> None:
    told = run_services({"BUS_SERVICES_DIR": str(tmp_path / "none")}, as_nobody=True)
    assert told.returncode == 2
    assert told.stderr.endswith("Mend it with this command, then run make again:\n  sudo scripts/services\n")
    assert not (tmp_path / "none").exists()


def test_who_is_not_root_is_told_each_package_that_the_tests_need_and_the_machine_lacks(tmp_path: Path) -> None:
    # Given a machine without the program that makes the networks of clusters, and somebody who is not root there
    tools = {"id": "echo 1000", "dpkg-query": 'case "$*" in *iproute2*) exit 1 ;; esac; exec /usr/bin/dpkg-query "$@"'}
    for name, does in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    told = run_services({"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert (told.returncode, told.stderr.splitlines()[0]) == (2, "Missing for the tests: iproute2.")


def test_installing_what_is_there_changes_nothing_and_prints_the_versions() -> None:
    first, second = run_services({}), run_services({}, as_nobody=True)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout == second.stdout
    assert "PostgreSQL" in first.stdout
