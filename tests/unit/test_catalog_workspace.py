"""A sound workspace becomes values: services with their revision, environments, and adapters loaded by path."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.catalog import Secret, Workspace, load_adapter, load_simulator, load_workspace, reveal
from bus.errors import ConfigurationError
from bus.message.text import Text
from bus.process.closure import from_closure, revision
from bus.process.definition import Backoff, Condition, Const, Grant, Repeat
from bus.process.definition import Path as DataPath
from bus.process.mapping import parse_path
from tests.support.workspaces.copies import Edit, copy_of_repository, copy_of_small

ADAPTER = """
from collections.abc import Sequence

from adapters.registry.translate import GREETING
from bus.adapter import Adapter, Reply, Task


class Registry(Adapter):
    greeting = GREETING

    def prepare(self, operation: str, tasks: Sequence[Task]) -> tuple[bytes, ...]:
        return ()

    def call(self, operation: str, native: Sequence[bytes]) -> tuple[bytes, ...]:
        return ()

    def read(self, operation: str, raw: Sequence[bytes]) -> tuple[Reply, ...]:
        return ()
"""
SETTINGS = {"database": "legacy.db", "password": "tiger"}


@pytest.fixture(autouse=True)
def modules_left_as_they_were() -> Iterator[None]:
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "adapters"}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "adapters"]:
        del sys.modules[name]
    sys.modules.update(before)


def small(folder: Path, *edits: Edit) -> Workspace:
    root, _ = copy_of_small(folder, *edits)
    return load_workspace(root, "dev")


def with_adapter(folder: Path, *, greeting: str = "hello", adapter: str = ADAPTER) -> Workspace:
    folder.mkdir(exist_ok=True)
    workspace = small(folder)
    home = workspace.root / "adapters/registry"
    (home / "adapter.py").write_text(adapter, encoding="utf-8")
    (home / "translate.py").write_text(f"GREETING = {greeting!r}\n", encoding="utf-8")
    return workspace


def test_a_service_is_built_as_its_file_says(tmp_path: Path) -> None:
    # When
    definition = small(tmp_path).services["open-shop.v1"].definition
    # Then
    assert definition.title == Text(en="Open a shop", ar="فتح متجر")
    assert definition.request_contract == "service/open-shop.v1.request"
    assert definition.subject == DataPath(root="request", step="", members=("owner", "number"))
    assert definition.consumers == {"portal": Grant(purposes=("licensing",), fields=("/shop_number", "/permit/number"))}
    assert definition.purposes["licensing"].legal_basis == "Law 1"
    assert definition.deadline == 864_000_000
    assert definition.output["shop_number"] == parse_path("steps.register.shop_number")


def test_steps_stand_after_what_they_need_and_otherwise_as_in_the_file(tmp_path: Path) -> None:
    assert list(small(tmp_path).services["open-shop.v1"].definition.steps) == ["name", "permit", "register", "survey"]


def test_a_step_has_its_own_values_then_the_defaults_of_the_file_then_those_of_the_bus(tmp_path: Path) -> None:
    # When
    steps = small(tmp_path).services["open-shop.v1"].definition.steps
    # Then
    assert steps["name"].backoff == Backoff(attempts=5, first=2_000, factor=2.0, most=3_600_000)
    assert steps["name"].repeat == Repeat(kind="queryable", absence_proof_after=30_000)
    compensation = steps["name"].compensate
    assert compensation is not None
    assert compensation.repeat == Repeat(kind="idempotent", window=86_400_000)
    assert (compensation.backoff.attempts, compensation.backoff.factor, compensation.deadline) == (20, 2.0, 7_200_000)
    assert steps["register"].input["kind"] == Const(value="sole")
    assert (steps["register"].final, steps["register"].repeat.kind) == (True, "at_most_once")
    assert steps["survey"].when == Condition(path=parse_path("request.shop.kind"), among=("food", "drink"))
    survey = steps["survey"]
    assert (survey.on_refused, survey.on_exhausted, survey.on_deadline) == ("continue", "fail", "continue")
    permit = steps["permit"]
    assert (permit.on_refused, permit.on_exhausted, permit.on_deadline) == ("reject", "park", "park")
    assert (permit.desk, permit.deadline, permit.repeat.kind) == (True, 432_000_000, "at_most_once")


def test_the_closure_of_a_service_is_what_its_revision_names(tmp_path: Path) -> None:
    # When
    service = small(tmp_path).services["open-shop.v1"]
    definition, contracts = from_closure(service.closure)
    # Then
    assert definition == service.definition
    assert service.revision == revision(service.closure)
    assert "operation/name.release.v1.input" in contracts.names()
    assert "service/open-shop.v1.result" in contracts.names()


def test_comments_and_the_order_of_members_change_no_revision(tmp_path: Path) -> None:
    # Given
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    change = Edit(
        old="        needs: [name, permit]\n        final: true\n",
        new="        final: true # \n        needs: [name, permit]\n",
    )
    # When
    one, other = small(tmp_path / "a"), small(tmp_path / "b", change)
    # Then
    assert one.services["open-shop.v1"].revision == other.services["open-shop.v1"].revision


def test_an_environment_may_let_clerks_answer_for_an_agency_with_an_adapter(tmp_path: Path) -> None:
    # When
    workspace = small(tmp_path, Edit(file="env/dev.yaml", old="use: real", new="use: desk"))
    # Then
    step = workspace.services["open-shop.v1"].definition.steps["name"]
    assert (step.desk, step.repeat.kind) == (True, "at_most_once")


def test_an_environment_keeps_intervals_and_says_how_every_provider_is_reached(tmp_path: Path) -> None:
    # When
    env = small(tmp_path, Edit(file="env/dev.yaml", old="  office: {use: desk}\n", new="")).env
    # Then
    assert (env.settings.tick_every, env.settings.window_batches, env.settings.ask_most) == (2_000, 2, 86_400_000)
    assert {name: use.use for name, use in env.agencies.items()} == {"registry": "real", "office": "desk"}


def test_a_secret_is_revealed_late_and_never_printed(tmp_path: Path) -> None:
    # Given
    workspace = small(tmp_path)
    (workspace.root / "token").write_text("lion\n", encoding="utf-8")
    settings = workspace.env.agencies["registry"].settings
    assert settings["password"] == Secret(source="env", name="REGISTRY_PASSWORD")
    # When
    revealed = reveal(
        {**settings, "more": [{"token": Secret(source="file", name="token")}]},
        workspace.root,
        {"REGISTRY_PASSWORD": "tiger"},
    )
    # Then
    assert revealed == {"database": "legacy.db", "password": "tiger", "more": [{"token": "lion"}]}
    assert "tiger" not in repr(workspace)


def test_all_secrets_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    settings = {"a": Secret(source="env", name="NOT_SET"), "b": Secret(source="file", name="not-there")}
    with pytest.raises(ConfigurationError) as error:
        reveal(settings, tmp_path, {})
    assert [fault.code for fault in error.value.faults] == ["secret-missing", "secret-missing"]


def test_a_secret_that_is_missing_is_told_with_the_line_that_asks_for_it(tmp_path: Path) -> None:
    workspace = small(tmp_path)
    with pytest.raises(ConfigurationError, match="REGISTRY_PASSWORD") as error:
        reveal(workspace.env.agencies["registry"].settings, workspace.root, {})
    assert [(fault.file, fault.line) for fault in error.value.faults] == [("env/dev.yaml", 6)]


def test_an_adapter_is_loaded_out_of_its_folder_with_its_settings(tmp_path: Path) -> None:
    # Given
    workspace = with_adapter(tmp_path)
    path = list(sys.path)
    # When
    adapter = load_adapter(workspace.adapters["registry"], SETTINGS)
    # Then
    assert type(adapter).__module__ == "adapters.registry.adapter"
    assert adapter.settings == SETTINGS
    assert vars(type(adapter))["greeting"] == "hello"
    assert sys.path == path


def test_adapters_of_the_same_name_in_two_workspaces_are_not_confused(tmp_path: Path) -> None:
    # Given
    first, second = with_adapter(tmp_path / "a"), with_adapter(tmp_path / "b", greeting="good day")
    # When
    loaded = [load_adapter(one.adapters["registry"], SETTINGS) for one in (first, second, first)]
    # Then
    assert [vars(type(adapter))["greeting"] for adapter in loaded] == ["hello", "good day", "hello"]


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        ("", "defines 0 subclasses"),
        (f"{ADAPTER}\n\nclass Other(Registry):\n    pass\n", "defines 2 subclasses"),
        ("import no_such_package_of_anybody", "no_such_package_of_anybody"),
        ("def (", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_an_adapter_that_cannot_be_loaded_is_told_with_its_file(adapter: str, words: str, tmp_path: Path) -> None:
    workspace = with_adapter(tmp_path, adapter=adapter)
    with pytest.raises(ConfigurationError, match=words) as error:
        load_adapter(workspace.adapters["registry"], SETTINGS)
    assert error.value.faults[0].file == "adapters/registry/adapter.py"


def test_settings_that_break_the_schema_load_no_adapter_and_are_not_quoted(tmp_path: Path) -> None:
    workspace = with_adapter(tmp_path)
    with pytest.raises(ConfigurationError, match="minLength: 3") as error:
        load_adapter(workspace.adapters["registry"], {"database": "legacy.db", "password": "ti"})
    (fault,) = error.value.faults
    place = (fault.file, fault.line, fault.pointer)
    assert place == ("adapters/registry/settings.schema.json", 7, "/properties/password")
    assert "/password" in fault.message
    assert "ti" not in re.findall(r"\w+", str(fault))


def test_an_adapter_that_chokes_on_its_settings_is_told_without_its_words(tmp_path: Path) -> None:
    chokes = "    def __init__(self, settings):\n        raise ValueError(settings)\n\n    greeting = GREETING\n"
    workspace = with_adapter(tmp_path, adapter=ADAPTER.replace("    greeting = GREETING\n", chokes))
    with pytest.raises(ConfigurationError, match="ValueError") as error:
        load_adapter(workspace.adapters["registry"], SETTINGS)
    assert "tiger" not in "".join(traceback.format_exception(error.value))


def test_a_simulator_is_loaded_beside_its_adapter(tmp_path: Path) -> None:
    # Given
    workspace = with_adapter(tmp_path)
    manifest = workspace.adapters["registry"]
    with pytest.raises(ConfigurationError, match="no such file"):
        load_simulator(manifest)
    (manifest.folder / "simulator.py").write_text("class Simulator:\n    words = 'here'\n", encoding="utf-8")
    # When, Then
    assert load_simulator(manifest).words == "here"


def test_the_adapter_and_simulator_of_the_repository_load_from_a_copy(tmp_path: Path) -> None:
    # Given
    root, _ = copy_of_repository(tmp_path)
    workspace = load_workspace(root, "dev")
    manifest = workspace.adapters["commercial_registry"]
    # When
    simulator = load_simulator(manifest)
    # Then
    assert Path(sys.modules[simulator.__module__].__file__ or "").is_relative_to(root)
    assert set(manifest.operations) == {"name.reserve.v1", "name.release.v1", "company.register.v1"}
