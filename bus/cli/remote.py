"""The commands that ask the gateway, made from the registry of operations."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import click

from bus.cli.connection import connect
from bus.cli.follow import follow
from bus.cli.lazy import LazyGroup, Place
from bus.cli.outcome import as_problem, exit_code
from bus.cli.parameters import Parameters, parameters_of
from bus.cli.show import Language, as_json, as_text, language
from bus.client import Client, Json
from bus.errors import BusError
from bus.operations.operation import Operation
from bus.operations.registry import OPERATIONS

#: Commands of the same nouns that work on the machine itself.
LOCAL: dict[str, dict[str, Place]] = {
    "agency": {
        "restore": Place("bus.cli.restore:restore", "Declare a journal restored.", "إعلان استعادة سجلّ."),
    },
}


def command_of(noun: str) -> click.Command:
    """``bus NOUN`` with its verbs, or the one command of that name."""
    operations = [operation for operation in OPERATIONS if operation.noun == noun]
    if [operation.verb for operation in operations] == [""]:
        return _command(operations[0])
    group = LazyGroup(name=noun, places=LOCAL.get(noun, {}), no_args_is_help=True)
    for operation in operations:
        group.add_command(_command(operation))
    return group


def _command(operation: Operation[Any, Any]) -> click.Command:
    parameters = parameters_of(operation)
    params = [*parameters.click, *_common()]
    if operation.name == "request_show":
        params.insert(1, click.Option(["--follow"], is_flag=True, help="Tell each news until the request has ended."))
    return click.Command(
        name=operation.verb or operation.noun,
        params=params,
        callback=_callback(operation, parameters),
        help=f"{operation.summary.en}\n\n{operation.summary.ar}",
        short_help=operation.summary.en,
    )


def _common() -> list[click.Parameter]:
    return [
        click.Option(["--json", "as_json_"], is_flag=True, help="Print JSON for programs."),
        click.Option(["--lang"], type=click.Choice(["en", "ar"]), help="Language of titles; default from the locale."),
        click.Option(["--as", "agency_"], metavar="AGENCY", help="For administrators: the agency to act for."),
        click.Option(
            ["--data", "data_"], type=click.Path(path_type=Path, file_okay=False), help="Folder of the running bus."
        ),
    ]


def _callback(operation: Operation[Any, Any], parameters: Parameters) -> Callable[..., int | None]:
    def run(
        *,
        as_json_: bool,
        lang: Language | None,
        agency_: str | None,
        data_: Path | None,
        follow: bool = False,
        **given: Any,
    ) -> int | None:
        brief = _BRIEF.get(operation.name, _whole)
        show = as_json if as_json_ else lambda answer: as_text(brief(answer), lang or language())
        try:
            values = parameters.values(given)
            with connect(data_, agency_, public=not operation.roles) as client:
                _run(client, operation, values, show, follows=follow)
        except BusError as error:
            if not as_json_:
                raise
            # Programs read one kind of text only, also where it is about an error.
            click.echo(as_json(as_problem(error)), err=True)
            return exit_code(error)
        return None

    return run


def _whole(answer: Json) -> Json:
    return answer


def _brief_request(answer: Json) -> Json:
    return answer | {"facts": [_without(fact, _LONG) for fact in answer.get("facts", ())]}


def _brief_facts(answer: Json) -> Json:
    return {"items": [_without(fact, _LONG - {"message_id"}) for fact in answer["items"]]}


def _brief_results(answer: Json) -> Json:
    items = [_without(item, {"message"}) | {"data": item["message"].get("data")} for item in answer["items"]]
    return answer | {"items": items}


def _without(row: Json, names: Collection[str]) -> Json:
    return {name: member for name, member in row.items() if name not in names}


#: Members of facts that make a line too long to read; ``--json`` has them all.
_LONG = frozenset({"hash", "digest", "message_id", "fields", "step_kind"})
#: What people are shown where the whole answer is too much.
_BRIEF: dict[str, Callable[[Json], Json]] = {
    "request_show": _brief_request,
    "request_facts": _brief_facts,
    "result_list": _brief_results,
}


def _run(
    client: Client,
    operation: Operation[Any, Any],
    values: dict[str, Any],
    show: Callable[[Json], str],
    *,
    follows: bool,
) -> None:
    if follows:
        follow(client, values["request"], lambda news: click.echo(show(news)))
        return
    answer: Json = getattr(client, operation.name)(**values)
    if operation.name == "request_show":
        answer["facts"] = client.request_facts(answer["request_id"])["items"]
    click.echo(show(answer))
