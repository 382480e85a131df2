"""What every adapter folder of the workspace promises, held to its golden samples and to its own simulator."""

from __future__ import annotations

import functools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bus.adapter import (
    Adapter,
    AgencyUnavailableError,
    Completed,
    Effect,
    Failed,
    Found,
    Pending,
    Refused,
    Reply,
    Returned,
    Task,
    Unknown,
    Unsure,
)
from bus.catalog import AdapterManifest, load_adapter, load_simulator, load_workspace
from bus.errors import InvalidMessageError
from bus.message.replies import reply_to_data, reply_type
from bus.simulator import Control, Ledger, Misbehaviour
from bus.simulator import Simulator as BaseSimulator

ROOT = Path(__file__).parents[2]
REFERENCE = "ABCDEFGHIJKLMNOP"
#: What stands in an adapter's folder for people.
HEADINGS = [
    "Agency",
    "Owner",
    "How to connect it",
    "How to try it",
    "How an answer is kept",
    "Failure modes",
    "How to replay",
    "Runbook",
    "Simulator",
]
#: From the name of a folder to its adapter.
Pure: TypeAlias = Callable[[str], Adapter]
#: Seconds that a call waits here; misbehaviours that never answer cost this much.
PATIENCE_S = 0.25


@functools.cache
def manifests() -> dict[str, AdapterManifest]:
    return dict(load_workspace(ROOT, "test").adapters)


FOLDERS = sorted(file.parent.name for file in ROOT.glob("adapters/*/manifest.yaml"))
OPERATIONS = sorted(
    (folder.parents[1].name, folder.name) for folder in ROOT.glob("adapters/*/samples/*") if folder.is_dir()
)


def made(folder: str, place: Path, **settings: Any) -> Adapter:
    """The adapter of the folder, set to reach a simulator that may run in ``place``."""
    manifest = manifests()[folder]
    return load_adapter(manifest, {**load_simulator(manifest).settings(place), **settings})


@pytest.fixture(scope="session")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Pure:
    """The adapter of a folder for its pure halves; nothing is reached."""
    place = tmp_path_factory.mktemp("nowhere")
    return functools.cache(lambda folder: made(folder, place / folder))


def samples(pattern: str) -> list[Any]:
    found = sorted(ROOT.glob(f"adapters/*/samples/*/{pattern}"))
    assert found, f"there is no sample {pattern}"
    return [pytest.param(path, id=f"{path.parents[2].name}/{path.parent.name}/{path.name}") for path in found]


def folder_of(path: Path) -> str:
    return path.parents[2].name


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def beside(path: Path, ending: str) -> Path:
    """The one file that belongs to the same sample; ``ending`` may hold a ``*``."""
    [found] = path.parent.glob(path.name.split(".", 1)[0] + ending)
    return found


def first_valid(folder: str, operation: str, kind: str) -> Path:
    return min((ROOT / "adapters" / folder / "samples" / operation).glob(f"{kind}-valid-*.native.*"))


def good_answer(folder: str, operation: str) -> bytes:
    """An answer that completes."""
    answers = sorted((ROOT / "adapters" / folder / "samples" / operation).glob("reply-valid-*.native.*"))
    good = (path for path in answers if load(beside(path, ".canonical.json"))["type"] == "bus.task.completed.v1")
    return next(good).read_bytes()


@functools.cache
def contract(operation: str, side: str) -> Draft202012Validator:
    schema = load(ROOT / "schemas" / "operation" / f"{operation}.{side}.json")
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def contains(whole: Any, part: Any) -> bool:
    """Whether the golden part is in the whole; texts for people are not in the golden files."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and contains(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part)


# --- the folder -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_operation_of_a_manifest_has_contracts_and_samples_of_both_sides_and_no_other_has(folder: str) -> None:
    place = ROOT / "adapters" / folder / "samples"
    operations = manifests()[folder].operations
    assert {path.name for path in place.iterdir()} == set(operations)
    for operation in operations:
        for side in ("input", "output"):
            Draft202012Validator.check_schema(contract(operation, side).schema)
        assert list((place / operation).glob("task-valid-*.canonical.json")), operation
        assert [*(place / operation).glob("task-invalid-*"), *(place / operation).glob("task-returned-*")], operation
        assert list((place / operation).glob("reply-invalid-*")), operation
        assert good_answer(folder, operation)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_readme_tells_what_a_person_at_night_needs_under_the_same_headings_everywhere(folder: str) -> None:
    text = (ROOT / "adapters" / folder / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS


@pytest.mark.parametrize("folder", FOLDERS)
def test_settings_are_titled_in_both_languages_and_those_of_the_simulator_obey(folder: str, tmp_path: Path) -> None:
    schema = load(ROOT / "adapters" / folder / "settings.schema.json")
    rules = Draft202012Validator(schema)
    settings = load_simulator(manifests()[folder]).settings(tmp_path)
    assert rules.is_valid(settings)
    assert not rules.is_valid({**settings, "no_such_setting": 1})
    assert not rules.is_valid({})
    for part in (schema, *schema["properties"].values()):
        assert part["title"].isascii()
        assert re.search("[\u0621-\u064a]", part["x-title-ar"])


# --- the pure halves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", samples("task-valid-*.canonical.json"))
def test_a_task_becomes_the_golden_bytes(path: Path, pure: Pure) -> None:
    operation, data = path.parent.name, load(path)
    contract(operation, "input").validate(data)
    native = pure(folder_of(path)).prepare(operation, [Task(reference=REFERENCE, data=data)])
    assert native == (beside(path, ".native.*").read_bytes(),)


@pytest.mark.parametrize("path", samples("task-returned-*.canonical.json"))
def test_what_the_applicant_must_correct_goes_back_before_any_call_and_spoils_no_neighbour(
    path: Path, pure: Pure
) -> None:
    operation = path.parent.name
    good = load(min(path.parent.glob("task-valid-*.canonical.json")))
    tasks = [Task(reference=REFERENCE, data=data) for data in (load(path), good)]
    first, second = pure(folder_of(path)).prepare(operation, tasks)
    assert isinstance(first, Returned)
    asked = load(ROOT / "schemas" / "operation" / f"{operation}.input.json")["properties"]
    assert first.needs
    assert all(need.pointer.removeprefix("/") in asked for need in first.needs)
    assert isinstance(second, bytes)


@pytest.mark.parametrize("path", samples("task-invalid-*.canonical.json"))
def test_what_no_applicant_wrote_and_the_system_cannot_take_is_told_with_every_fault(path: Path, pure: Pure) -> None:
    golden = load(beside(path, ".faults.json"))
    with pytest.raises(InvalidMessageError) as caught:
        pure(folder_of(path)).prepare(path.parent.name, [Task(reference=REFERENCE, data=load(path))])
    faults = caught.value.faults
    assert [(fault.code, fault.pointer) for fault in faults] == [(fault["code"], fault["pointer"]) for fault in golden]
    for fault, wanted in zip(faults, golden, strict=True):
        assert wanted["says"] in fault.message


@pytest.mark.parametrize("path", samples("reply-*.native.*"))
def test_an_answer_becomes_the_golden_reply(path: Path, pure: Pure) -> None:
    operation, golden = path.parent.name, load(beside(path, ".canonical.json"))
    [reply] = pure(folder_of(path)).read(operation, [path.read_bytes()])
    data = reply_to_data(reply)
    assert reply_type(reply) == golden["type"]
    assert contains(data, golden["data"])
    if golden["type"] == "bus.task.completed.v1":
        assert data == golden["data"]
        contract(operation, "output").validate(dict(data))
    if isinstance(reply, Failed):
        assert reply.legacy_code == golden["data"].get("legacy_code")
        assert golden.get("says", "") in reply.text.en


@pytest.mark.parametrize("path", samples("reply-invalid-*.native.*"))
def test_an_answer_that_cannot_be_believed_spoils_no_neighbour_and_never_says_that_nothing_happened(
    path: Path, pure: Pure
) -> None:
    adapter, operation = pure(folder_of(path)), path.parent.name
    good = good_answer(folder_of(path), operation)
    before, bad, after = adapter.read(operation, [good, path.read_bytes(), good])
    assert before == after == adapter.read(operation, [good])[0]
    assert isinstance(bad, Failed)
    assert bad.effect != Effect.NONE


@pytest.mark.parametrize(("folder", "operation"), OPERATIONS)
def test_answers_have_the_length_of_what_was_asked(folder: str, operation: str, pure: Pure) -> None:
    data = load(min((ROOT / "adapters" / folder / "samples" / operation).glob("task-valid-*.canonical.json")))
    good = good_answer(folder, operation)
    for count in (0, 1, 7):
        tasks = [Task(reference=f"REF{number}", data=data) for number in range(count)]
        native = pure(folder).prepare(operation, tasks)
        assert len(native) == len(set(native)) == count, "each reference has a message of its own"
        assert len(pure(folder).read(operation, [good] * count)) == count


@pytest.mark.parametrize(("folder", "operation"), OPERATIONS)
def test_an_answer_that_was_cut_anywhere_is_never_taken_for_whole(folder: str, operation: str, pure: Pure) -> None:
    whole = good_answer(folder, operation)
    pieces = [whole[:length] for length in range(len(whole))]
    for length, reply in enumerate(pure(folder).read(operation, pieces)):
        assert isinstance(reply, Unknown) or (isinstance(reply, Failed) and reply.effect != Effect.NONE), length


@pytest.mark.parametrize(("folder", "operation"), OPERATIONS)
def test_no_bytes_whatever_make_the_reading_break(folder: str, operation: str, pure: Pure) -> None:
    whole = good_answer(folder, operation)

    @given(st.data())
    def reads(data: st.DataObject) -> None:
        damaged = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(damaged)))
            end = data.draw(st.integers(start, min(len(damaged), start + 8)))
            damaged[start:end] = data.draw(st.binary(max_size=8))
        [reply] = pure(folder).read(operation, [bytes(damaged)])
        reply_to_data(reply)
        if isinstance(reply, Completed):
            contract(operation, "output").validate(dict(reply.data))

    reads()


# --- the door -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "operation"), OPERATIONS)
def test_a_system_that_cannot_be_reached_is_noticed_before_anything_is_sent(
    folder: str, operation: str, tmp_path: Path
) -> None:
    # Given a place where no simulator runs
    adapter = made(folder, tmp_path)
    native = first_valid(folder, operation, "task").read_bytes()
    # Then a call says that no byte was sent, and a look-up that it cannot tell
    with pytest.raises(AgencyUnavailableError):
        adapter.call(operation, [native, native])
    assert adapter.look_up(operation, ["R1", "R2"]) == (Unsure(), Unsure())


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.001)


@contextmanager
def simulated(folder: str, place: Path) -> Iterator[Control]:
    """The folder's simulator at work in a thread."""
    stop = threading.Event()
    simulator: BaseSimulator = load_simulator(manifests()[folder])(place)
    thread = threading.Thread(target=simulator.run, args=(stop.is_set,))
    thread.start()
    try:
        until(lambda: is_reachable(folder, place))
        with Control(place / "control.db") as control:
            yield control
    finally:
        stop.set()
        thread.join()


def is_reachable(folder: str, place: Path) -> bool:
    operation = next(iter(manifests()[folder].operations))
    return not isinstance(made(folder, place).look_up(operation, ["NOBODY"])[0], Unsure)


def claims(reply: Reply) -> Effect:
    """What a reply says of the effect."""
    match reply:
        case Completed():
            return Effect.DONE
        case Refused() | Returned():
            return Effect.NONE
        case Failed(effect=effect):
            return effect
        case Pending() | Unknown():
            return Effect.UNKNOWN


#: The first operation of each manifest needs nothing to be there before it.
FIRST = [(folder, what) for folder in FOLDERS for what in Misbehaviour if what is not Misbehaviour.DOWN]


@pytest.mark.parametrize(("folder", "what"), FIRST)
def test_however_a_system_misbehaves_nothing_is_said_of_its_effect_that_its_ledger_denies(
    folder: str, what: Misbehaviour, tmp_path: Path
) -> None:
    operation = next(iter(manifests()[folder].operations))
    data = load(beside(first_valid(folder, operation, "task"), ".canonical.json"))
    # Given a system that lets its clients down in this way
    with simulated(folder, tmp_path) as control:
        adapter = made(folder, tmp_path, timeout_s=PATIENCE_S)
        [native] = adapter.prepare(operation, [Task(reference="R1", data=data)])
        assert isinstance(native, bytes)
        control.arm(what, seconds=PATIENCE_S / 5)
        # When it is asked
        try:
            [raw] = adapter.call(operation, [native])
            [reply] = adapter.read(operation, [raw])
        except AgencyUnavailableError:
            said = Effect.NONE
        except Exception:  # noqa: BLE001  # any other exception means that nobody knows
            said = Effect.UNKNOWN
        else:
            said = claims(reply)
        ledger = Ledger(tmp_path / "ledger.db")

        def is_done() -> bool:
            return ledger.counts().get("R1", 0) > 0

        # Then what is said is true, and what is left open the look-up settles
        assert said is Effect.UNKNOWN or (said is Effect.DONE) == is_done()
        control.disarm()

        def is_settled() -> bool:
            # A busy system may still be at it when nobody waits for its answer any more.
            [look] = adapter.look_up(operation, ["R1"])
            return not isinstance(look, Unsure) and isinstance(look, Found) == is_done()

        until(is_settled)
        # And what was said stays true
        assert said is Effect.UNKNOWN or (said is Effect.DONE) == is_done()
        [look] = adapter.look_up(operation, ["R1"])
        if isinstance(look, Found):
            [found] = adapter.read(operation, [look.raw])
            assert isinstance(found, Completed)
            contract(operation, "output").validate(dict(found.data))
