"""What is shown while the demo plays: facts as they are written in the store, and what people do, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from rich.cells import cell_len

from bus.audit.fact import Fact
from bus.catalog import Workspace
from bus.cli.demo import layout, words
from bus.cli.demo.layout import Row, Tone
from bus.message.instant import SECOND, Instant
from bus.message.text import Text
from bus.process.definition import Definition

#: Where the lines go: a terminal, a file, a picture.
Out: TypeAlias = Callable[[Row], None]

_PEOPLE = (words.CLERK, words.APPLICANT, words.OPERATOR, words.REQUEST, words.RESULT)


class Transcript:
    """Tells one story from its beginning at ``begun``, in the words of the workspace."""

    def __init__(self, workspace: Workspace, definition: Definition, begun: Instant, out: Out) -> None:
        self._agencies: Mapping[str, Text] = {name: agency.name for name, agency in workspace.agencies.items()}
        self._definition = definition
        self._begun = begun
        self._out = out
        self._told: dict[str, int] = {}
        titles = [step.title.en for step in definition.steps.values()]
        self._width = layout.names_width([*titles, *(person.en for person in _PEOPLE)])

    def show(self, rows: Iterable[Row]) -> None:
        """Print lines that are already laid out."""
        for row in rows:
            self._out(row)

    def introduce(self) -> None:
        """The service, and who answers for which steps."""
        self.show(layout.heading(self._definition.title))
        answers: dict[str, list[str]] = {}
        for step in self._definition.steps.values():
            for agency in step.providers:
                by_whom = " (a clerk answers)" if step.is_desk(agency) else ""
                answers.setdefault(agency, []).append(step.title.en + by_whom)
        column = max(cell_len(self._agencies[agency].en) for agency in answers) + 4
        for agency, titles in answers.items():
            name = self._agencies[agency]
            self._out(layout.entry((2, name.en), (column, ", ".join(titles)), arabic=name.ar, tone="quiet"))
        self.show(layout.heading(words.LIVE, column=2, tone="quiet"))

    def say(self, now: Instant | None, who: Text, what: Text, tone: Tone = "plain") -> None:
        """One line, or more where it is long."""
        seconds = None if now is None else (now - self._begun) / SECOND
        self.show(layout.event(seconds, who, what, width=self._width, tone=tone))

    def tell(self, facts: tuple[Fact, ...]) -> tuple[Fact, ...]:
        """Print what is new of a request; all that is new, with what is not worth a line."""
        new = tuple(fact for fact in facts if fact.version > self._told.get(fact.request_id, 0))
        for fact in new:
            self._told[fact.request_id] = fact.version
            told = words.told(fact, self._agencies.get(fact.provider or ""))
            if told is not None:
                self.say(fact.at, self._title(fact), told.text, told.tone)
        return new

    def _title(self, fact: Fact) -> Text:
        if fact.step is None:
            return words.REQUEST
        title = self._definition.steps[fact.step].title
        if fact.item is None:
            return title
        return Text(en=f"{title.en} {fact.item + 1}", ar=f"{title.ar} {fact.item + 1}")
