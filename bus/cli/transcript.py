"""What the demo shows: facts as they are written, and the ledger of the legacy system, each with the id of its row."""

from __future__ import annotations

from collections.abc import Mapping

import click

from bus.audit.fact import Fact
from bus.message.reply import Data
from bus.process.definition import Definition
from bus.simulator import Ledger

#: How a fact is told; others by their name.
_WORDS: Mapping[str, str] = {
    "accepted": "accepted: receipt given",
    "step_ready": "may begin",
    "step_dispatched": "sent to {provider}",
    "step_retrying": "{provider} is away; will be tried again",
    "step_unknown": "no answer: it may or may not have happened",
    "queried": "{provider} is asked what became of it",
    "resent": "no reply; the same bytes are sent again",
    "step_returned": "sent back to the applicant: {reason}",
    "step_succeeded": "done",
    "step_refused": "refused by {provider}: {reason}",
    "step_skipped": "not needed",
    "step_cancelled": "cancelled",
    "closing": "closing: what was done is taken back",
    "compensation_wanted": "is to be taken back",
    "ended": "ended: {state}",
}


#: How a result's reason is told; others as they are.
_REASONS: Mapping[str, str] = {"when": "not needed", "empty": "nothing to do"}


class Transcript:
    """Prints each fact once, with its row id (request key and version), the time since the start, and the step."""

    def __init__(self, definition: Definition, begun: int) -> None:
        self._definition = definition
        self._begun = begun
        self._told: dict[str, int] = {}

    def tell(self, number: int, facts: tuple[Fact, ...]) -> bool:
        """Print what is new of request ``number``; whether there was anything."""
        told = [fact for fact in facts if fact.version > self._told.get(fact.request_id, 0)]
        for fact in told:
            self._told[fact.request_id] = fact.version
            click.echo(f"  fact {number}/{fact.version:<3}{(fact.at - self._begun) / 1000:6.1f} s  {self._line(fact)}")
        return bool(told)

    def _line(self, fact: Fact) -> str:
        words = _WORDS.get(fact.kind, fact.kind.replace("_", " "))
        state = fact.changes.get("state", "")
        reason = fact.changes.get("reason") or fact.reason or ""
        text = words.format(provider=fact.provider or "", reason=reason, state=state)
        if fact.step is None:
            return text
        title = self._definition.steps[fact.step].title
        undo = " (undo)" if fact.step_kind == "compensation" else ""
        # The two languages in columns of their own: a terminal that turns the direction then moves nothing else.
        return f"{title.en + undo:<19} {text:<52} {title.ar}"


def tell_ledger(agency: str, ledger: Ledger) -> int:
    """Print the ground truth of a legacy system; how many references have more than one effect."""
    click.echo(f"\nLedger of {agency} (written by the legacy system, not by the bus)")
    counts = ledger.counts()
    for entry in ledger.entries():
        times = counts[entry.reference]
        once = "once" if times == 1 else f"{times} TIMES"
        click.echo(f"  effect {entry.id:<4}{entry.operation:<22}{entry.made:<14}{entry.reference}  {once}")
    return sum(1 for times in counts.values() if times > 1)


def tell_result(row: str, data: Data, definition: Definition) -> None:
    """Print the one result that the consumer got."""
    said = [f"{name} {value}" for name, value in data.get("result", {}).items()]
    for one in data["steps"]:
        if one.get("reason"):
            why = _REASONS.get(one["reason"], one["reason"])
            said.append(f"{definition.steps[one['step']].title.en} {one['state']} ({why})")
    click.echo(f"  result     row {row}  {data['outcome']}{': ' + ', '.join(said) if said else ''}")
