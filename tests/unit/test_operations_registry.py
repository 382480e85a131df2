"""One registry feeds the routes, the commands, the client and the documentation: none of them lags behind."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import click
import pytest

from bus.cli import COMMANDS
from bus.cli.remote import command_of
from bus.client import Client
from bus.gateway.description import describe
from bus.gateway.problems import PROBLEMS
from bus.message.text import Text
from bus.operations.operation import Operation
from bus.operations.reference import page
from bus.operations.registry import OPERATIONS
from bus.operations.titles import PUBLIC_STATES, REQUEST_TITLES, STEP_TITLES
from bus.process.state import RequestState, StepState

_ARABIC = re.compile("[\u0621-\u064a]")
_CODE = re.compile(r'code="([a-z-]+)"')
_ROOMS = Path(__file__).parents[2] / "bus"
_REFUSING = ("reading.py", "doorman.py", "batching.py", "app.py")
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


def _is_in_both_languages(text: Text) -> bool:
    return bool(text.en) and not _ARABIC.search(text.en) and bool(_ARABIC.search(text.ar))


def test_no_two_operations_share_a_name_or_a_route() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)


@each_operation
def test_every_operation_and_every_value_it_is_given_is_explained_in_both_languages(
    operation: Operation[Any, Any],
) -> None:
    texts = [operation.summary, *(field.given.summary for field in operation.fields)]

    assert all(_is_in_both_languages(text) for text in texts)


@each_operation
def test_every_operation_has_a_command_that_is_listed(operation: Operation[Any, Any]) -> None:
    command = command_of(operation.noun)
    if operation.verb:
        assert isinstance(command, click.Group)
        command = command.commands[operation.verb]

    assert operation.noun in COMMANDS
    assert operation.summary.en in (command.help or "")
    assert operation.summary.ar in (command.help or "")
    assert {"as_json_", "lang"} <= {parameter.name for parameter in command.params}


@each_operation
def test_every_operation_has_a_method_of_the_client_that_takes_the_same_values(operation: Operation[Any, Any]) -> None:
    method = inspect.signature(getattr(Client, operation.name))
    taken = {name for name in method.parameters if name != "self"}
    needed = {name for name, one in method.parameters.items() if one.default is inspect.Parameter.empty} - {"self"}

    assert taken == {field.name for field in operation.fields}
    assert needed == {field.name for field in operation.fields if field.required}


def test_the_page_of_operations_is_what_the_registry_says() -> None:
    written = (_ROOMS.parent / "docs" / "operations.md").read_text(encoding="utf-8")

    assert written == page(), "run python -m bus.operations.reference > docs/operations.md"


@each_operation
def test_the_path_of_every_operation_names_exactly_its_path_values(operation: Operation[Any, Any]) -> None:
    named = set(re.findall(r"{(\w+)}", operation.path))

    assert named == {field.name for field in operation.fields if field.given.place == "path"}


@each_operation
def test_every_operation_is_described_without_references(operation: Operation[Any, Any]) -> None:
    assert "$ref" not in repr(describe(operation))


def test_every_state_has_a_title_in_both_languages() -> None:
    titles = [
        *(REQUEST_TITLES[state] for state in RequestState),
        *(STEP_TITLES[state] for state in StepState),
        *(PUBLIC_STATES[state][1] for state in StepState),
    ]

    assert all(_is_in_both_languages(title) for title in titles)


def test_every_problem_has_a_title_and_a_mend_in_both_languages() -> None:
    texts = [text for problem in PROBLEMS.values() for text in (problem.title, problem.mend)]

    assert all(text.en for text in texts)
    assert all(_ARABIC.search(text.ar) for text in texts)


def test_every_code_that_an_operation_raises_is_in_the_catalogue() -> None:
    files = [*(_ROOMS / "operations").glob("*.py"), *(_ROOMS / "gateway" / name for name in _REFUSING)]
    # Codes of single faults and of log lines stand in lists of their own.
    inner = {"unknown-parameter", "duplicate-parameter", "duplicate-header", "unknown-member"}
    raised = {code for file in files for code in _CODE.findall(file.read_text(encoding="utf-8"))}

    assert raised - inner <= set(PROBLEMS)
    assert {"key-reused", "request-unknown", "agency-needed"} <= raised
