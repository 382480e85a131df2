"""What would become of one request: the bus's own decisions on a simulated clock, with answers made from samples."""

from __future__ import annotations

from collections.abc import Iterable

from bus.errors import Fault, InvalidMessageError
from bus.message.instant import DAY, Instant
from bus.process.rows import rows_from_request, unknown_members
from bus.tools.rehearsal_answer import ANSWERS, row_name
from bus.tools.rehearsal_stage import Stage
from bus.tools.rehearsal_value import Play, Rehearsal

#: After the request's deadline, time for supplements, look-ups and taking back.
_BEYOND = 60 * DAY


def rehearse(play: Play, now: Instant) -> Rehearsal:
    """Submit at ``now`` and let everything happen that timers and the given answers bring about.

    No store, no broker, no adapter's code: the same play gives the same rehearsal. InvalidMessageError with every
    fault of the data, and of answers to items that the data does not have; ConfigurationError where an agency has
    neither a sample nor a contract from which an answer can be made.
    """
    faults = [*play.contracts.explain(play.definition.request_contract, play.data)]
    faults += [] if faults else _faults_of_rows(play)
    if faults:
        raise InvalidMessageError(tuple(faults))
    stage = Stage(play, now)
    stage.run(now + play.definition.deadline + _BEYOND + sum(answer.length for answer in play.answers.values()))
    return stage.rehearsal()


def _faults_of_rows(play: Play) -> Iterable[Fault]:
    for step, pointer in unknown_members(play.definition, play.data):
        message = f"No member of {play.definition.steps[step].party} has this code."
        mend = "Use a code of the group: `bus route show` lists them."
        yield Fault(code="provider-unknown", message=message, mend=mend, pointer=pointer)
    known: dict[str, set[int | None]] = {}
    for row in rows_from_request(play.definition, play.data):
        known.setdefault(row.step, set()).add(row.item)
    for key in play.answers:
        # The items of a step that reads another step's answer are known only when that has come.
        if key.item is not None and key.item not in known.get(key.step, {key.item}):
            message = f"The request has no {row_name(key)}."
            mend = "Answer an item that the request has."
            yield Fault(code="unknown-item", message=message, mend=mend, file=ANSWERS)
