"""What an environment says of webhooks: where the messages go, and a secret that nothing repeats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bus.bench import fanout
from bus.bootstrap import assemble, load_workspace, running
from bus.catalog import configuration_rows
from bus.catalog.workspace import Secret, WebhookUse
from bus.errors import ConfigurationError
from bus.runtime.webhook_signature import secret_of
from tests.support.webhook_receiver import SHORT, WRITTEN
from tests.support.workspaces.copies import Edit, copy_of_small

_USE = "\nwebhooks: {office: {url: URL, secret: SECRET}}\nintervals:\n"


def _workspace(folder: Path, url: str, secret: str, consumer: str = "portal") -> Path:
    text = _USE.replace("office", consumer).replace("URL", url).replace("SECRET", secret)
    return copy_of_small(folder, Edit(file="env/dev.yaml", old="\nintervals:\n", new=text))[0]


def test_an_environment_says_where_the_messages_of_a_consumer_go_and_shows_no_secret(tmp_path: Path) -> None:
    root = _workspace(tmp_path, "https://portal.example/bus", "{env: PORTAL_WEBHOOK}")

    use = load_workspace(root, "dev").env.webhooks["portal"]
    rows = {row.name: row.value for row in configuration_rows(root, "dev")}

    assert (use.url, use.secret.name) == ("https://portal.example/bus", "PORTAL_WEBHOOK")
    assert rows["webhooks.portal.url"] == "https://portal.example/bus"
    assert rows["webhooks.portal.secret"] == "******** (from env PORTAL_WEBHOOK)"


@pytest.mark.parametrize(
    ("url", "secret", "consumer", "code"),
    [
        ("http://portal.example/bus", "{env: X}", "portal", "webhook-address"),
        ("https://user:word@portal.example/bus", "{env: X}", "portal", "webhook-address"),
        ("https://portal.example:nine/bus", "{env: X}", "portal", "webhook-address"),
        ("ftp://portal.example/bus", "{env: X}", "portal", "webhook-address"),
        ("https:///bus", "{env: X}", "portal", "webhook-address"),
        ("https://portal.example/bus", WRITTEN, "portal", "secret-in-clear"),
        ("https://portal.example/bus", "{env: X}", "moon", "unknown-agency"),
    ],
)
def test_a_webhook_that_cannot_be_safe_is_refused_with_its_line_and_its_secret_is_not_repeated(
    tmp_path: Path, url: str, secret: str, consumer: str, code: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_workspace(_workspace(tmp_path, url, secret, consumer), "dev")

    assert [fault.code for fault in refused.value.faults] == [code]
    assert all(fault.file == "env/dev.yaml" and fault.line and fault.mend for fault in refused.value.faults)
    assert WRITTEN not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_plain_http_is_for_receivers_on_this_machine(tmp_path: Path, host: str) -> None:
    assert load_workspace(_workspace(tmp_path, f"'http://{host}/bus'", "{env: X}"), "dev").env.webhooks


@pytest.mark.parametrize("written", ["", WRITTEN.removeprefix("whsec_"), "whsec_???", "whsec_" + "A" * 20])
def test_a_secret_that_is_none_is_refused_and_not_repeated(written: str) -> None:
    with pytest.raises(ValueError, match=r"webhook's secret|base64") as refused:
        secret_of(written)
    assert not written or written not in str(refused.value)


def test_the_bus_does_not_start_with_a_secret_that_is_none(tmp_path: Path) -> None:
    workspace = fanout.workspace(SHORT)
    use = WebhookUse(
        url="http://127.0.0.1:9/", secret=Secret(source="file", name="hook", asked_in="env/x.yaml", line=7)
    )
    (tmp_path / "hook").write_text("short", encoding="utf-8")
    workspace = replace(workspace, root=tmp_path, env=replace(workspace.env, webhooks={fanout.CONSUMER: use}))
    parts = assemble(workspace, tmp_path / "data")
    with pytest.raises(ConfigurationError) as refused, running(parts, hosts=False):
        pass
    parts.store.close()
    (fault,) = refused.value.faults
    assert (fault.code, fault.file, fault.line, bool(fault.mend)) == ("webhook-secret", "env/x.yaml", 7, True)
