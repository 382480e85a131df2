"""``bus route try``: what would become of a request, on a simulated clock, without asking anybody."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from bus.cli.local import on_workspace
from bus.cli.outcome import DONE, NO
from bus.cli.show import as_json, as_text, table
from bus.errors import InvalidMessageError
from bus.message.instant import DAY, HOUR, MINUTE, SECOND, Milliseconds
from bus.message.strict_json import parse

if TYPE_CHECKING:
    from bus.audit.fact import Fact
    from bus.catalog import Workspace
    from bus.errors import Fault
    from bus.message.envelope import Envelope
    from bus.process.definition import Definition
    from bus.tools.rehearsal_value import Play, Rehearsal

_SHORT = 8


@click.command("try")
@click.argument("service")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--answer",
    "answers",
    multiple=True,
    metavar="STEP=WORD[,...]",
    help="What an agency answers: completed, refused, returned, late:2d, down:30s, lost, unknown, malformed, failed, "
    "silent. STEP/ITEM is one item, undo:STEP what takes STEP back; refused:REASON, failed:CODE, returned:REASON "
    "choose a sample; after returned:never the applicant brings nothing. Who is not named does what is asked.",
)
@click.option("--as", "consumer", metavar="AGENCY", help="Who asks; else the first consumer of the service.")
@click.option("--purpose", help="Why; else the first that the consumer is granted.")
@on_workspace
@click.option("--json", "as_json_", is_flag=True, help="Print JSON for programs, with every message whole.")
def try_(
    service: str,
    file: BinaryIO,
    answers: tuple[str, ...],
    consumer: str | None,
    purpose: str | None,
    workspace: Path,
    env: str,
    as_json_: bool,
) -> int:
    """Show what would become of the request in FILE: each step in time, every message, and who would see what.

    Nothing is sent, stored or called: agencies answer with the golden samples of their adapters, or with examples of
    their contracts, one second after they are asked. Exits 1 where the request would need a person.
    """
    from bus.catalog import load_workspace
    from bus.tools.rehearsal import rehearse

    play = _play(load_workspace(workspace.resolve(), env), service, file, answers, consumer, purpose)
    try:
        rehearsal = rehearse(play, time.time_ns() // 1_000_000)
    except InvalidMessageError as error:
        raise InvalidMessageError(tuple(_in_file(error.faults, file))) from error
    click.echo(as_json(_content(play, rehearsal)) if as_json_ else "\n".join(_lines(play, rehearsal)))
    return DONE if rehearsal.is_over and not rehearsal.parked else NO


def _play(
    workspace: Workspace,
    service: str,
    file: BinaryIO,
    answers: Sequence[str],
    consumer: str | None,
    purpose: str | None,
) -> Play:
    """What is to be rehearsed; every fault of the answers and of the file at once."""
    from bus.catalog.document import suggest
    from bus.tools.rehearsal_answer import parse_answers
    from bus.tools.rehearsal_sample import read_samples
    from bus.tools.rehearsal_value import Play

    if service not in workspace.services:
        raise click.UsageError(f"There is no service {service}. {suggest(service, workspace.services)}".strip())
    definition, samples = workspace.services[service].definition, read_samples(workspace)
    consumer, purpose = _asker(definition, consumer, purpose)
    said, faults = parse_answers(answers, definition, samples)
    data, more = _data(file)
    if not more:
        more = workspace.contracts.explain(definition.request_contract, data)
    faults += tuple(_in_file(more, file))
    if faults:
        raise InvalidMessageError(faults)
    return Play(
        definition=definition,
        contracts=workspace.contracts,
        samples=samples,
        consumer=consumer,
        purpose=purpose,
        data=data,
        answers=said,
        settings=workspace.env.settings,
    )


def _asker(definition: Definition, consumer: str | None, purpose: str | None) -> tuple[str, str]:
    consumer = consumer or next(iter(definition.consumers))
    if consumer not in definition.consumers:
        known = ", ".join(definition.consumers)
        raise click.UsageError(f"{consumer} may not ask for {definition.service}. Granted to: {known}.")
    granted = definition.consumers[consumer].purposes
    if purpose is not None and purpose not in granted:
        raise click.UsageError(f"{consumer} may not ask for that purpose. Granted: {', '.join(granted)}.")
    return consumer, purpose or next(iter(granted), "")


def _data(file: BinaryIO) -> tuple[Any, Sequence[Fault]]:
    try:
        return parse(file.read()), ()
    except InvalidMessageError as error:
        return None, error.faults


def _in_file(faults: Iterable[Fault], file: BinaryIO) -> Iterator[Fault]:
    return (replace(fault, file=fault.file or file.name) for fault in faults)


# --- for programs ----------------------------------------------------------------------------------------------------


def _content(play: Play, rehearsal: Rehearsal) -> Mapping[str, Any]:
    return {
        "service": play.definition.service,
        "consumer": play.consumer,
        "purpose": play.purpose,
        "state": rehearsal.request.state.value,
        "parked": [{"row": row, "reason": reason} for row, reason in rehearsal.parked],
        "unused_answers": list(rehearsal.unused),
        "timeline": list(_timeline(play, rehearsal)),
        "messages": [
            {"at": one.at, "channel": one.channel, "message": parse(one.message.body)} for one in rehearsal.messages
        ],
        "disclosures": {
            agency: {operation: list(fields) for operation, fields in operations.items()}
            for agency, operations in rehearsal.disclosures.items()
        },
        "failures": [asdict(one) for one in rehearsal.failures],
        "result": rehearsal.result,
    }


def _timeline(play: Play, rehearsal: Rehearsal) -> Iterator[dict[str, Any]]:
    """One line a fact; the state of a row is what it was until a fact says otherwise."""
    states: dict[tuple[Any, ...], str] = {}
    attempts: dict[tuple[Any, ...], int] = {}
    for at, fact in rehearsal.timeline:
        row = (fact.step, fact.item, fact.step_kind)
        states[row] = str(fact.changes.get("state", states.get(row, "open" if fact.step is None else "")))
        attempts[row] = int(fact.changes.get("attempt", attempts.get(row, 1)))
        step = play.definition.steps[fact.step] if fact.step else None
        yield {
            "at": at,
            "step": fact.step,
            "item": fact.item,
            "kind": fact.step_kind,
            "title": (step or play.definition).title.to_json(),
            "what": fact.kind,
            "state": states[row],
            "attempt": attempts[row] if step else None,
            "who": _who(fact, play.consumer),
            "reason": fact.changes.get("reason"),
        }


def _who(fact: Fact, consumer: str) -> str:
    """Whose affair it is: the agency or its clerk, the applicant, the consumer; others only set it going."""
    # The row of a compensation comes into being with its first fact, which names the agency among what changed.
    actor, provider = fact.actor or "", fact.provider or str(fact.changes.get("agency", ""))
    is_own = actor.startswith(f"{provider}/") if "/" in actor else bool(actor)
    return actor if is_own else provider or consumer


# --- for people ------------------------------------------------------------------------------------------------------


def _lines(play: Play, rehearsal: Rehearsal) -> Iterator[str]:
    title = play.definition.title
    yield f"{title.en}, asked by {play.consumer} for {play.purpose or 'no purpose'}  {title.ar}"
    yield from ("", "What happens (time since the submission; an answer takes a second, unless you say otherwise)")
    yield from _indented(table([_told(*group) for group in _runs(_timeline(play, rehearsal))]))
    yield from ("", "Messages that the bus would send")
    yield from _indented(table(_message_rows(rehearsal)) if rehearsal.messages else ["-"])
    yield from ("", "Fields that each agency would see")
    seen = [
        {"agency": agency, "operation": operation, "fields": ", ".join(fields)}
        for agency, operations in rehearsal.disclosures.items()
        for operation, fields in operations.items()
    ]
    yield from _indented(table(seen) if seen else ["-"])
    if rehearsal.failures:
        yield from ("", "Shown to operators")
        yield from _indented(_failures(rehearsal))
    if rehearsal.result is not None:
        yield from ("", f"Result for {play.consumer}")
        yield from _indented(as_text(rehearsal.result, "en").splitlines())
    yield ""
    yield from _verdict(rehearsal)


def _runs(lines: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any], int]]:
    """First, last and number of neighbours that differ in time alone: what is asked forty times is told once."""
    for _, group in groupby(lines, key=lambda line: {**line, "at": 0}):
        alike = list(group)
        yield alike[0], alike[-1], len(alike)


def _told(first: Mapping[str, Any], last: Mapping[str, Any], times: int) -> dict[str, str]:
    name = "" if first["step"] is None else first["title"]["en"]
    name += "" if first["item"] is None else f" {first['item']}"
    name += " (undo)" if first["kind"] == "compensation" else ""
    what = str(first["what"]).removeprefix("step_").replace("_", " ")
    what += f", attempt {first['attempt']}" if what == "dispatched" and first["attempt"] > 1 else ""
    what += f", {times} times until {_since(last['at'])}" if times > 1 else ""
    return {
        "at": _since(first["at"]),
        "step": name,
        "what": what,
        "state": "" if what.startswith(first["state"]) else first["state"],
        "who": first["who"],
        "reason": first["reason"] or "",
        # At the end of the line: a terminal that turns the direction then moves nothing else.
        "title": first["title"]["ar"],
    }


def _message_rows(rehearsal: Rehearsal) -> list[dict[str, str]]:
    rows = []
    for _, group in groupby(rehearsal.messages, key=lambda one: one.message.envelope.id):
        alike = list(group)
        envelope = alike[0].message.envelope
        again = f"{len(alike) - 1} times until {_since(alike[-1].at)}" if len(alike) > 1 else ""
        rows.append(
            {
                "at": _since(alike[0].at),
                "channel": alike[0].channel,
                "type": str(envelope.type),
                "step": _row(envelope),
                "attempt": str(envelope.attempt or ""),
                "id": envelope.id[:_SHORT],
                "again": again,
            }
        )
    return rows


def _row(envelope: Envelope) -> str:
    """The row as ``--answer`` names it."""
    undo = "undo:" if envelope.kind == "compensation" else ""
    item = "" if envelope.item is None else f"/{envelope.item}"
    return f"{undo}{envelope.step or ''}{item}"


def _failures(rehearsal: Rehearsal) -> Iterator[str]:
    for one in rehearsal.failures:
        yield f"{_since(one.at)}  {one.row or 'the request'}: {one.code}"
        yield from (f"  {fault}" for fault in one.faults)


def _verdict(rehearsal: Rehearsal) -> Iterator[str]:
    from bus.operations.titles import REQUEST_TITLES, STEP_TITLES
    from bus.process.state import StepState

    end = rehearsal.timeline[-1][0]
    title = REQUEST_TITLES[rehearsal.request.state]
    if rehearsal.unused:
        yield f"Never asked: {', '.join(rehearsal.unused)}."
    if rehearsal.parked:
        parked = STEP_TITLES[StepState.PARKED]
        rows = ", ".join(f"{row} ({reason})" for row, reason in rehearsal.parked)
        yield f"Parked: a person must look at {rows}.  {parked.ar}"
    if rehearsal.is_over:
        yield f"{title.en} after {_since(end)}.  {title.ar}"
    else:
        yield f"No end without a person: {title.en.lower()} after {_since(end)}.  {title.ar}"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _since(at: Milliseconds) -> str:
    """``0s``, ``2.5s``, ``10d 2h 5s``."""
    parts = []
    for name, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if at >= size:
            parts.append(f"{at // size}{name}")
            at %= size
    if at or not parts:
        parts.append(f"{at / SECOND:g}s")
    return " ".join(parts)
