"""Intervals are written with their unit, checked by name and shown with the line that set them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import config
from bus.catalog import ConfigurationRow, configuration_rows, load_workspace
from bus.catalog.show import MASK
from bus.config import NAMES, Settings, duration, setting, shown, to_duration
from bus.errors import ConfigurationError
from tests.support.workspaces.copies import REPOSITORY, Edit, copy_of_small


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("5ms", 5), ("5s", 5_000), ("10m", 600_000), ("2h", 7_200_000), ("10d", 864_000_000), ("0s", 0)],
)
def test_a_duration_is_a_number_and_its_unit(text: str, milliseconds: int) -> None:
    assert duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "-5s", "1.5h", "5S", "٥s", "5s\n", "1w", "9999999999s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="5ms, 5s, 10m, 2h, 10d"):
        duration(text)


@given(st.integers(0, 10**9 - 1))
def test_a_duration_is_read_back_from_its_text(milliseconds: int) -> None:
    assert duration(to_duration(milliseconds)) == milliseconds


@pytest.mark.parametrize("name", NAMES)
def test_every_default_is_a_value_that_a_file_could_set(name: str) -> None:
    default = getattr(Settings(), name)
    written = shown(name, default)
    assert setting(name, written if written[-1].isalpha() else type(default)(written)) == default


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("tick_every", 5),
        ("tick_every", "0s"),
        ("tick_every", True),
        ("window_batches", "4"),
        ("window_batches", 0),
        ("window_batches", 1.5),
        ("window_batches", True),
        ("request_warn_at", 1),
        ("request_warn_at", 0),
        ("request_warn_at", "80%"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(name: str, written: object) -> None:
    with pytest.raises(ValueError, match=name):
        setting(name, written)


def test_nobody_can_be_made_to_wait_long_for_a_batch_to_fill() -> None:
    assert setting("batch_wait", "1s") == 1_000
    with pytest.raises(ValueError, match="batch_wait is at most 1s"):
        setting("batch_wait", "10d")


def test_every_field_has_a_kind_that_can_be_read() -> None:
    assert {str(field.type) for field in fields(Settings)} == {"Milliseconds", "Count", "Fraction"}
    assert {field.name for field in fields(Settings)} == set(config.NAMES)


def test_each_value_is_shown_with_the_file_and_line_that_set_it_and_secrets_are_masked(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_small(tmp_path)
    # When
    rows = {row.name: row for row in configuration_rows(root, "dev")}
    # Then
    assert rows["intervals.tick_every"] == ConfigurationRow(
        name="intervals.tick_every", value="2s", file="env/dev.yaml", line=9
    )
    assert rows["agencies.registry.use"].line == 3
    assert rows["agencies.registry.settings.database"].value == "legacy.db"
    assert rows["agencies.registry.settings.password"].value == f"{MASK} (from env REGISTRY_PASSWORD)"
    assert rows["intervals.ask_most"] == ConfigurationRow(name="intervals.ask_most", value="1d")
    assert {name for name in rows if name.startswith("intervals.")} == {f"intervals.{name}" for name in NAMES}


def test_a_secret_that_somebody_wrote_in_clear_is_masked_all_the_same(tmp_path: Path) -> None:
    root, _ = copy_of_small(tmp_path, Edit(file="env/dev.yaml", old="{env: REGISTRY_PASSWORD}", new="tiger"))
    rows = {row.name: row.value for row in configuration_rows(root, "dev")}
    assert rows["agencies.registry.settings.password"] == MASK


def test_a_broken_environment_cannot_be_shown(tmp_path: Path) -> None:
    root, _ = copy_of_small(tmp_path, Edit(file="env/dev.yaml", old="use: real", new="use: reel"))
    with pytest.raises(ConfigurationError, match="Did you mean real"):
        configuration_rows(root, "dev")


@pytest.mark.parametrize("env", ["dev", "test", "demo"])
def test_the_repository_is_a_sound_workspace_in_every_environment(env: str) -> None:
    workspace = load_workspace(REPOSITORY, env)
    assert workspace.env.agencies["commercial_registry"].use == "simulator"
    assert workspace.env.agencies["municipality"].use == "desk"
