"""What an environment may say of the broker, the databases and the installation's secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.catalog import BrokerUse, DatabaseUse, ManagementUse, Secret, configuration_rows, load_workspace
from bus.errors import ConfigurationError
from tests.support.workspaces.copies import copy_of_repository

FULL = """
broker:
  url: amqps://rabbit-1:5671,rabbit-2:5671/bus
  ca: secrets/ca.pem
  password: {file: secrets/broker_bus}
  replicas: 3
  management: {url: https://rabbit-1:15671, user: admin, password: {env: ADMIN}}
store: {url: postgresql://bus@db:5432/bus, password: {file: secrets/store}}
installation_secret: {file: secrets/installation}
"""


def written(folder: Path, text: str, agency: str = "") -> Path:
    root, _ = copy_of_repository(folder)
    file = root / "env" / "test.yaml"
    here = file.read_text(encoding="utf-8")
    if agency:
        here = here.replace("tax_authority: {use: simulator}", f"tax_authority: {{use: simulator, {agency}}}")
    file.write_text(here + text, encoding="utf-8")
    return root


def test_broker_store_and_secret_are_read_with_their_secrets_unrevealed(tmp_path: Path) -> None:
    own = "broker_password: {file: secrets/tax}, journal: {url: postgresql://tax@db/journal}"
    env = load_workspace(written(tmp_path, FULL, own), "test").env

    assert env.broker == BrokerUse(
        url="amqps://rabbit-1:5671,rabbit-2:5671/bus",
        ca="secrets/ca.pem",
        password=Secret(source="file", name="secrets/broker_bus"),
        replicas=3,
        management=ManagementUse(
            url="https://rabbit-1:15671", user="admin", password=Secret(source="env", name="ADMIN")
        ),
    )
    assert env.store == DatabaseUse(
        url="postgresql://bus@db:5432/bus", password=Secret(source="file", name="secrets/store")
    )
    assert env.installation_secret == Secret(source="file", name="secrets/installation")
    tax = env.agencies["tax_authority"]
    assert tax.broker_password == Secret(source="file", name="secrets/tax")
    assert tax.journal == DatabaseUse(url="postgresql://tax@db/journal")


def test_an_environment_that_says_nothing_of_them_is_the_embedded_bus(tmp_path: Path) -> None:
    env = load_workspace(written(tmp_path, ""), "test").env

    assert (env.broker, env.store, env.installation_secret) == (None, None, None)
    assert {use.journal for use in env.agencies.values()} == {None}


def test_an_address_may_stand_where_a_secret_stands(tmp_path: Path) -> None:
    env = load_workspace(written(tmp_path, "\nbroker: {url: {env: BROKER}}\n"), "test").env

    assert env.broker == BrokerUse(url=Secret(source="env", name="BROKER"))


@pytest.mark.parametrize(
    ("text", "pointer", "code"),
    [
        ("broker: {url: 'http://broker'}", "/broker/url", "not-an-address"),
        ("broker: {url: 3}", "/broker/url", "not-an-address"),
        ("broker: {url: 'amqp://bus:plover@broker/bus'}", "/broker/url", "secret-in-clear"),
        ("broker: {url: 'amqp://broker/bus', password: plover}", "/broker/password", "secret-in-clear"),
        (
            "broker: {url: 'amqp://b/bus', management: {url: 'http://b', user: a, password: plover}}",
            "/broker/management/password",
            "secret-in-clear",
        ),
        ("broker: {url: 'amqp://b/bus'}\nstore: {url: 'mysql://b'}", "/store/url", "not-an-address"),
        ("broker: {url: 'amqp://b/bus'}\nstore: {url: 'postgresql://b:w@h/d'}", "/store/url", "secret-in-clear"),
        ("installation_secret: 0011", "/installation_secret", "secret-in-clear"),
        ("store: {url: 'postgresql://bus@db/bus'}", "/store", "broker-missing"),
    ],
)
def test_what_is_no_address_or_stands_in_clear_is_named_with_its_place(
    tmp_path: Path, text: str, pointer: str, code: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_workspace(written(tmp_path, f"\n{text}\n"), "test")

    assert [(fault.pointer, fault.code, fault.file) for fault in caught.value.faults] == [
        (pointer, code, "env/test.yaml")
    ]
    assert "plover" not in str(caught.value)


def test_a_clear_password_of_an_agency_is_named_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_workspace(written(tmp_path, "", "broker_password: plover"), "test")

    assert [fault.pointer for fault in caught.value.faults] == ["/agencies/tax_authority/broker_password"]


def test_the_command_shows_each_of_them_and_no_secret(tmp_path: Path) -> None:
    rows = {row.name: row.value for row in configuration_rows(written(tmp_path, FULL), "test")}

    assert rows["broker.url"] == "amqps://rabbit-1:5671,rabbit-2:5671/bus"
    assert rows["broker.password"] == "******** (from file secrets/broker_bus)"
    assert rows["installation_secret"] == "******** (from file secrets/installation)"
