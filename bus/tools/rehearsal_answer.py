"""What each agency is to answer in a rehearsal: ``STEP=refused,STEP=late:2d,STEP/1=silent,undo:STEP=failed``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from bus.catalog.document import suggest
from bus.config import duration
from bus.errors import Fault
from bus.message.instant import Milliseconds
from bus.process.definition import Definition, StepDefinition
from bus.process.state import Kind, StepKey
from bus.process.wire import operation_of
from bus.tools.rehearsal_sample import Samples

#: What the author wrote it in; a fault names it as its file.
ANSWERS = "--answer"


class Conduct(StrEnum):
    """How an agency behaves towards one interaction."""

    #: It does what is asked, and says so.
    COMPLETED = "completed"
    #: Its lawful "no"; ``refused:name_taken`` chooses the reason.
    REFUSED = "refused"
    #: Something is missing; the applicant brings it, and then it is done. ``returned:never``: he does not.
    RETURNED = "returned"
    #: ``late:2d``: it will answer later, and does so after that time.
    LATE = "late"
    #: ``down:30s``: out of reach for that long, then it does what is asked.
    DOWN = "down"
    #: It does what is asked and its answer is lost on the way.
    LOST = "lost"
    #: Its host cannot tell whether it happened; a look-up, where there is one, finds it.
    UNKNOWN = "unknown"
    #: It does what is asked and its answer cannot be read.
    MALFORMED = "malformed"
    #: It cannot do it; ``failed:agency_closed`` chooses the code.
    FAILED = "failed"
    #: It never answers anything.
    SILENT = "silent"


#: What a clerk at a desk can do; nothing is sent to him that could be lost or in doubt.
_OF_CLERKS = frozenset({Conduct.COMPLETED, Conduct.REFUSED, Conduct.RETURNED, Conduct.LATE, Conduct.SILENT})
_WITH_LENGTH = frozenset({Conduct.LATE, Conduct.DOWN})
_WITH_CHOICE = frozenset({Conduct.COMPLETED, Conduct.REFUSED, Conduct.RETURNED, Conduct.FAILED})
NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one row is answered."""

    conduct: Conduct = Conduct.COMPLETED
    #: The name of a sample, a reason or a code; "" for the first that fits.
    choice: str = ""
    #: Of `Conduct.LATE` and `Conduct.DOWN`.
    length: Milliseconds = 0


#: By row; a key without item speaks of all the items that have no answer of their own.
Answers: TypeAlias = Mapping[StepKey, Answer]


def answer_to(answers: Answers, key: StepKey) -> Answer:
    """The answer to one row; who is not named does what is asked."""
    return answers.get(key) or answers.get(key._replace(item=None)) or Answer()


def parse_answers(
    texts: Iterable[str], definition: Definition, samples: Samples
) -> tuple[dict[StepKey, Answer], tuple[Fault, ...]]:
    """The answers by row, and every fault of what was written."""
    answers: dict[StepKey, Answer] = {}
    faults: list[Fault] = []
    for text in (part.strip() for one in texts for part in one.split(",") if part.strip()):
        address, separator, said = text.partition("=")
        if not separator:
            faults.append(_fault("not-an-answer", f"{text} has no =.", "Write STEP=WORD, for example STEP=late:2d."))
            continue
        key, found = _key(address, definition)
        faults += found
        answer, found = _answer(said)
        faults += found
        if key is not None and answer is not None:
            faults += _misfits(key, answer, definition, samples)
            if key in answers:
                faults.append(_fault("said-twice", f"{address} is answered twice.", "Leave one of the two away."))
            answers[key] = answer
    return answers, tuple(faults)


def row_name(key: StepKey) -> str:
    """A row as the author writes it: ``step``, ``step/1``, ``undo:step``."""
    undo = "undo:" if key.kind is Kind.COMPENSATION else ""
    return f"{undo}{key.step}" if key.item is None else f"{undo}{key.step}/{key.item}"


def _key(address: str, definition: Definition) -> tuple[StepKey | None, Sequence[Fault]]:
    kind = Kind.COMPENSATION if address.startswith("undo:") else Kind.TASK
    name, slash, item = address.removeprefix("undo:").partition("/")
    step = definition.steps.get(name)
    if step is None:
        return None, [_fault("unknown-step", f"There is no step {name}.", suggest(name, definition.steps))]
    if kind is Kind.COMPENSATION and step.compensate is None:
        return None, [
            _fault("no-compensation", f"{name} is never taken back.", "Give it compensate, or leave this out.")
        ]
    if slash and (step.for_each is None or item not in map(str, range(step.most))):
        known = f"Its items are {name}/0 to {name}/{step.most - 1}." if step.for_each is not None else f"Write {name}."
        return None, [_fault("unknown-item", f"{name} has no item {item}.", known)]
    return StepKey(step=name, item=int(item) if slash else None, kind=kind), ()


def _answer(said: str) -> tuple[Answer | None, Sequence[Fault]]:
    word, _, more = said.partition(":")
    if word not in set(Conduct):
        message = f"{word or 'Nothing'} is no answer."
        return None, [_fault("unknown-answer", message, suggest(word, Conduct) or f"One of: {', '.join(Conduct)}.")]
    conduct = Conduct(word)
    if conduct in _WITH_LENGTH:
        try:
            return Answer(conduct=conduct, length=duration(more)), ()
        except ValueError as error:
            return None, [_fault("duration", f"{said}: {error}", f"Write {word}:30s or {word}:2d.")]
    if more and conduct not in _WITH_CHOICE:
        return None, [_fault("unknown-answer", f"{word} takes nothing after it.", f"Write {word} alone.")]
    return Answer(conduct=conduct, choice=more), ()


def _misfits(key: StepKey, answer: Answer, definition: Definition, samples: Samples) -> Iterable[Fault]:
    step, name = definition.steps[key.step], row_name(key)
    if all(map(step.is_desk, step.providers)) and answer.conduct not in _OF_CLERKS:
        mend = f"Clerks can say: {', '.join(one for one in Conduct if one in _OF_CLERKS)}."
        yield _fault("not-for-a-desk", f"{name} is answered by clerks; {answer.conduct} is for systems.", mend)
    elif answer.choice and (answer.conduct, answer.choice) != (Conduct.RETURNED, NEVER):
        yield from _unknown_choice(step, key, answer, definition, samples)


def _unknown_choice(
    step: StepDefinition, key: StepKey, answer: Answer, definition: Definition, samples: Samples
) -> Iterable[Fault]:
    """An agency that shows by samples what it can say says nothing else."""
    operation = operation_of(definition, key)
    of_agency = [samples.of(agency, operation, answer.conduct) for agency in step.providers]
    known = {name for found in of_agency for sample in found for name in sample.names}
    if known and answer.choice not in known:
        message = f"No sample of {operation} is {answer.conduct}:{answer.choice}."
        yield _fault("unknown-sample", message, suggest(answer.choice, known))


def _fault(code: str, message: str, mend: str) -> Fault:
    return Fault(code=code, message=message, mend=mend, file=ANSWERS)
