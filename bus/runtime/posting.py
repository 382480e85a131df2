"""What a transaction sends: outbox rows, rows for clerks, results for consumers, failures for operators."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from bus.message.channel import tasks
from bus.message.envelope import Message
from bus.message.instant import Instant
from bus.message.key import Keys
from bus.message.reply import Data
from bus.message.strict_json import field_pointers
from bus.ports import DeskAnswer, DeskRow, FailureRow, OutboxRow, Payload, ResultRow
from bus.process import wire
from bus.process.decision import (
    CloseDesk,
    Conflict,
    FailureClosed,
    FailureOpened,
    ResendTask,
    Send,
    SendQuery,
    SendWithdrawal,
    TellEnd,
    TellReturned,
)
from bus.process.mapping import resolve
from bus.process.reading import outputs, refusals
from bus.process.state import Request, RequestState, StepKey, StepState
from bus.runtime.case import Case
from bus.runtime.digests import Digests
from bus.runtime.reading import Reading

_WITH_DATA = {RequestState.COMPLETED, RequestState.PARTIALLY_FULFILLED}
_ON_DESK = {"open", "claimed"}
#: How long each list was, and the desk's rows.
Mark: TypeAlias = tuple[tuple[int, int, int, int], dict[tuple[int, StepKey], DeskRow]]


class Posting:
    """Gathers; nothing is written or sent before the transaction's end."""

    def __init__(self, reading: Reading, keys: Keys, now: Instant, digests: Digests) -> None:
        self._reading = reading
        self._keys = keys
        self._now = now
        self._digests = digests
        #: Rows with the bytes to publish.
        self.outbox: list[tuple[OutboxRow, bytes]] = []
        self.results: list[ResultRow] = []
        self.failures: list[FailureRow] = []
        self.failures_closed: list[tuple[int, FailureClosed, Instant]] = []
        self.desk: dict[tuple[int, StepKey], DeskRow] = {}

    def mark(self) -> Mark:
        """How much was gathered so far; for `forget`."""
        lengths = (len(self.outbox), len(self.results), len(self.failures), len(self.failures_closed))
        return lengths, dict(self.desk)

    def forget(self, mark: Mark) -> None:
        """What was gathered since the mark is not to be."""
        (outbox, results, failures, closed), self.desk = mark
        del self.outbox[outbox:], self.results[results:], self.failures[failures:], self.failures_closed[closed:]

    def send(self, case: Case, send: Send) -> None:
        """Make rows of one thing that a decision sends."""
        match send:
            case SendQuery():
                self._post_new(case, send.step, wire.query(case.request, send.step, case.pinned.definition))
            case SendWithdrawal():
                self._post_new(case, send.step, wire.withdrawal(case.request, send.step, case.pinned.definition))
            case ResendTask():
                self._resend(case, send.step)
            case CloseDesk():
                self._close_desk(case.request, send.step)
            case TellReturned():
                reply = self._reading.data(send.payload_id)["data"]
                self._tell(case, wire.returned(case.request, send.step, reply, send.until, self._now))
            case TellEnd():
                self._tell_end(case)

    # --- providers ---------------------------------------------------------------------------------------------------

    def post(self, case: Case, key: StepKey, message: Message, payload_id: int) -> None:
        """One message to the provider of a row; its bytes are the payload."""
        row = OutboxRow(
            key=self._keys.next(),
            channel=tasks(case.request.steps[key].agency),
            message_id=message.envelope.id,
            type=message.envelope.type,
            correlation_id=case.request.id,
            payload_id=payload_id,
            request_key=case.request.key,
        )
        self.outbox.append((row, message.body))

    def _post_new(self, case: Case, key: StepKey, message: Message) -> None:
        payload = Payload(id=self._keys.next(), request_key=case.request.key, bytes=message.body)
        self._reading.keep([payload])
        self.post(case, key, message, payload.id)

    def _resend(self, case: Case, key: StepKey) -> None:
        step = case.request.steps[key]
        if step.task_id is None:
            raise LookupError(f"step {key.step} was dispatched without bytes")
        body = self._reading.body(step.task_id)
        row = OutboxRow(
            key=self._keys.next(),
            channel=tasks(step.agency),
            message_id=wire.task_id(case.request, key),
            type="bus.task.requested.v1",
            correlation_id=case.request.id,
            payload_id=step.task_id,
            request_key=case.request.key,
        )
        self.outbox.append((row, body))

    # --- consumers ---------------------------------------------------------------------------------------------------

    def _tell(self, case: Case, message: Message) -> None:
        payload = Payload(id=self._keys.next(), request_key=case.request.key, bytes=message.body)
        self._reading.keep([payload])
        self.results.append(
            ResultRow(
                key=payload.id,
                request_key=case.request.key,
                request_id=case.request.id,
                consumer=case.request.consumer,
                type=message.envelope.type,
                payload_id=payload.id,
                created_at=self._now,
            )
        )

    def _tell_end(self, case: Case) -> None:
        """The one result; the fact of the end names the fields that the consumer is told by it."""
        output, words = self._output(case), refusals(case.request, self._reading.data)
        message = wire.result(case.request, case.pinned.definition, output, words, self._now)
        self._tell(case, message)
        self._digests.note(message.envelope.id, message.body)
        case.told("ended", message.envelope.id, field_pointers((message.data or {}).get("result", {})))

    def _output(self, case: Case) -> Data | None:
        if case.request.state not in _WITH_DATA:
            return None
        request = self._reading.data(case.request.data_id)
        return resolve(case.pinned.definition.output, request=request, steps=outputs(case.request, self._reading.data))

    # --- failures ----------------------------------------------------------------------------------------------------

    def failure(self, case: Case, change: FailureOpened | FailureClosed) -> None:
        """Show one thing to operators, or take it from their sight."""
        if isinstance(change, FailureClosed):
            self._close_failures(case, change)
            return
        step = case.request.steps.get(change.step) if change.step else None
        agency = step.agency if step else None
        operation = wire.operation_of(case.pinned.definition, change.step) if change.step else "-"
        self.failures.append(
            FailureRow(
                key=self._keys.next(),
                request_key=case.request.key,
                request_id=case.request.id,
                step=change.step,
                agency=agency,
                code=change.code,
                cause=f"{agency or '-'}/{operation}/{change.code}",
                payload_id=change.payload_id,
                opened_at=self._now,
            )
        )

    def _close_failures(self, case: Case, change: FailureClosed) -> None:
        # The store closes what was open before; what was opened in this very transaction is closed here.
        self.failures = [
            replace(row, closed_at=self._now, how_closed=change.how)
            if row.request_key == case.request.key and row.step == change.step and row.closed_at is None
            else row
            for row in self.failures
        ]
        self.failures_closed.append((case.request.key, change, self._now))

    # --- desk --------------------------------------------------------------------------------------------------------

    def open_desk(self, request: Request, key: StepKey, operation: str, task_id: int) -> None:
        """A row for the clerks; a further attempt goes back to the clerk who had it."""
        step, old = request.steps[key], self._desk_row(request, key)
        self.desk[request.key, key] = DeskRow(
            key=old.key if old else self._keys.next(),
            request_key=request.key,
            request_id=request.id,
            step=key,
            agency=step.agency,
            operation=operation,
            interaction_id=request.interaction(key),
            edit=step.edit,
            attempt=step.attempt,
            task_id=task_id,
            state="claimed" if old and old.clerk else "open",
            opened_at=self._now,
            due_at=step.expires_at,
            clerk=old.clerk if old else None,
            changed_at=self._now,
        )

    def desk_conflict(self, request: Request, key: StepKey, answer: DeskAnswer) -> Conflict | None:
        """Why a clerk's answer comes too late, or None."""
        row, step = self._desk_row(request, key), request.steps.get(key)
        fits = (
            row is not None
            and step is not None
            and step.state is StepState.DISPATCHED
            and row.state in _ON_DESK
            and row.attempt == answer.attempt == step.attempt
            and row.clerk in {None, answer.clerk}
        )
        if fits:
            return None
        state = row.state if row else "no row"
        return Conflict(
            code="step-state",
            state=state,
            changed_by=row.clerk if row else None,
            changed_at=row.changed_at if row else None,
        )

    def answer_desk(self, request: Request, key: StepKey, answer: DeskAnswer) -> None:
        """The clerk's answer was decided."""
        row = self._desk_row(request, key)
        if row is not None:
            self.desk[request.key, key] = replace(
                row, state="answered", clerk=answer.clerk, changed_at=self._now, draft_id=None
            )

    def _close_desk(self, request: Request, key: StepKey) -> None:
        row = self._desk_row(request, key)
        if row is not None and row.state in _ON_DESK:
            self.desk[request.key, key] = replace(row, state="withdrawn", changed_at=self._now)

    def _desk_row(self, request: Request, key: StepKey) -> DeskRow | None:
        known = self.desk.get((request.key, key))
        return known or self._reading.ask(lambda transaction: transaction.desk_row(request.key, key))
