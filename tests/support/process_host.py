"""A model of an agency: its host, which decides with the real receiver, its journal, and its legacy system's ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bus.message.instant import SECOND, Instant
from bus.message.reply import Completed, Effect, Failed, Need, Pending, Refused, Reply, Returned, Unknown
from bus.process.definition import Repeat
from bus.receiver.ask import Ask, Asked
from bus.receiver.failure import failed
from bus.receiver.gate import Gate, Terms, absence_counts, begin, honest, settled
from bus.receiver.inquire import answer_query, answer_withdrawal
from bus.receiver.judge import judge
from bus.receiver.row import JournalIdentity, Row, State, chain
from bus.receiver.verdict import AnswerAnew, BuildAgain, LookUpFirst, ReadAgain, Run, SendRecorded
from tests.support.process_rows import WORDS

TIMEOUT, LEASE, LATE_MARGIN = 30 * SECOND, 30 * SECOND, 60 * SECOND

#: What a call to the legacy system may come to. The last four leave no answer.
CALLS = (
    "ok",
    "refuse",
    "return",
    "retryable",
    "permanent",
    "busy",
    "pending",
    "unreadable",
    "effect_no_answer",
    "no_effect_no_answer",
    "late_effect_no_answer",
    "effect_then_crash",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One reply on its way to the bus."""

    interaction_id: str
    attempt: int
    reply: Reply
    digest: str


@dataclass(slots=True)
class Host:
    """Everything of one agency. Nothing here ever lies; the machine sends lies of its own beside it."""

    agency: str
    send: Callable[[Answer], None]
    #: Operation -> what trying it again may do.
    repeats: dict[str, Repeat]
    journal: JournalIdentity
    rows: dict[str, Row] = field(default_factory=dict)
    recorded: dict[str, tuple[Reply, int]] = field(default_factory=dict)
    #: How often each interaction had its effect: the ground truth, which no loss of a journal touches.
    ledger: Counter[str] = field(default_factory=Counter)
    first_effect: dict[str, Instant] = field(default_factory=dict)
    #: Interactions that the legacy system answers later, and effects of calls that were given up too early.
    later: list[str] = field(default_factory=list)
    under_way: list[tuple[Instant, str]] = field(default_factory=list)
    #: Which operation each interaction asks for.
    operations: dict[str, str] = field(default_factory=dict)

    def terms(self, operation: str) -> Terms:
        """What the operation allows, as this host is configured."""
        repeat = self.repeats[operation]
        return Terms(
            repeat=repeat.kind,
            window=repeat.window,
            absence_proof_after=repeat.absence_proof_after,
            timeout=TIMEOUT,
            lease=LEASE,
        )

    def lose_journal(self, journal_id: str) -> None:
        """The file is gone; what the legacy system did is not."""
        self.journal = JournalIdentity(journal_id=journal_id, seq=0)
        self.rows.clear()
        self.recorded.clear()

    # --- what the bus asks -------------------------------------------------------------------------------------------

    def hear(self, asked: Asked, now: Instant) -> None:
        """One message of the bus, however often and late it comes."""
        self.pass_time(now)
        row, terms = self.rows.get(asked.interaction_id), self.terms(asked.operation)
        match asked.ask:
            case Ask.TASK:
                verdict = judge(asked, row, chain(asked.supersedes, self.rows), self.journal, now, terms)
            case Ask.QUERY:
                verdict = answer_query(asked, row, self.journal, now, terms)
            case _:
                verdict = answer_withdrawal(asked, row, self.journal, now, terms)
        for changed in verdict.rows:
            self.rows[changed.interaction_id] = changed
        for action in verdict.actions:
            match action:
                case Run():
                    pass  # it waits in its row until `work` takes it up
                case SendRecorded():
                    reply, attempt = self.recorded[action.interaction_id]
                    self._tell(action.interaction_id, attempt, reply)
                case AnswerAnew():
                    self._tell(action.interaction_id, action.attempt, action.reply)
                case BuildAgain():
                    self._tell(action.interaction_id, action.attempt, self.recorded[action.interaction_id][0])
                case LookUpFirst():
                    self._look_up(action.row, action.attempt, now)
                case ReadAgain():
                    self._settle(action.row, action.attempt, failed("answer_unreadable", Effect.DONE), now)

    # --- what it does by itself --------------------------------------------------------------------------------------

    def waiting(self) -> list[str]:
        """Interactions that wait for their turn."""
        return [row.interaction_id for row in self.rows.values() if row.state is State.RECEIVED]

    def work(self, interaction_id: str, call: str, now: Instant) -> None:
        """Take one up: through the gate, then at most one call, which comes to ``call``."""
        self.pass_time(now)
        row = self.rows[interaction_id]
        terms = self.terms(row.operation)
        verdict = begin(row, terms, now, late_margin=LATE_MARGIN, connected=True)
        if verdict is Gate.LOOK_UP:
            if not self._look_up(row, row.attempt, now, to_run=True):
                return
            verdict = begin(row, terms, now, late_margin=LATE_MARGIN, connected=True, absent=True)
            row = replace(row, effect=Effect.NONE)
        if verdict is Gate.RUN:
            self._call(row, call, now)
        else:
            self._settle(row, row.attempt, Unknown() if isinstance(verdict, Gate) else verdict, now)

    def collect(self, call: str, now: Instant) -> None:
        """What was pending is done, or refused; the oldest first."""
        self.pass_time(now)
        if not self.later:
            return
        interaction_id = self.later.pop(0)
        row = self.rows.get(interaction_id)
        call = self._true(interaction_id, call)
        if call != "refuse":
            self._effect(interaction_id, now)
        if row is not None and row.state in {State.PENDING, State.UNKNOWN, State.BEGUN}:
            reply = self._refusal() if call == "refuse" else self._completed(interaction_id)
            self._settle(row, row.attempt, reply, now)

    def pass_time(self, now: Instant) -> None:
        """Effects of calls that nobody waits for any more happen in their own time."""
        over = [one for one in self.under_way if one[0] <= now]
        self.under_way = [one for one in self.under_way if one[0] > now]
        for at, interaction_id in over:
            self._effect(interaction_id, at)

    def _call(self, before: Row, call: str, now: Instant) -> None:
        interaction_id, terms = before.interaction_id, self.terms(before.operation)
        row = replace(
            before,
            state=State.BEGUN,
            effect=Effect.UNKNOWN,
            process="host",
            lease_until=now + TIMEOUT + LEASE,
            begun_at=now if before.begun_at is None else before.begun_at,
            called_at=now,
        )
        self.rows[interaction_id] = row
        call = self._true(interaction_id, call)
        match call:
            case "ok" | "unreadable" | "effect_no_answer" | "effect_then_crash":
                self._effect(interaction_id, now)
            case "late_effect_no_answer":
                self.under_way.append((now + TIMEOUT, interaction_id))
            case "pending" if interaction_id not in self.later:
                self.later.append(interaction_id)
        if call == "effect_then_crash":
            return
        reply = self._answer(interaction_id, call)
        self._settle(row, row.attempt, honest(reply, before, terms), now)

    def _true(self, interaction_id: str, call: str) -> str:
        """A legacy system that runs an interaction again does not deny what it already did, or still does."""
        silent = {"effect_no_answer", "no_effect_no_answer", "late_effect_no_answer", "effect_then_crash", "unreadable"}
        if interaction_id in self.later:
            return "pending"
        if any(under_way == interaction_id for _, under_way in self.under_way):
            return "no_effect_no_answer"
        return "ok" if self.ledger[interaction_id] and call not in silent else call

    def _answer(self, interaction_id: str, call: str) -> Reply:
        match call:
            case "ok":
                return self._completed(interaction_id)
            case "refuse":
                return self._refusal()
            case "return":
                return Returned(needs=(Need(pointer="/lease", reason_code="missing", text=WORDS),))
            case "pending":
                return Pending()
            case "unreadable":
                return failed("answer_unreadable", Effect.DONE)
            case "retryable":
                return failed("unavailable")
            case "permanent":
                return failed("invalid_input")
            case "busy":
                return Failed(code="busy", effect=Effect.NONE, retryable=True, retry_after=5 * SECOND)
        return Unknown()

    def _look_up(self, row: Row, attempt: int, now: Instant, *, to_run: bool = False) -> bool:
        """Ask the legacy system; whether the call may now run (``to_run``: an absent one is run, not told)."""
        if self.ledger[row.interaction_id]:
            self._settle(row, attempt, self._completed(row.interaction_id), now)
        elif row.interaction_id in self.later:
            self._settle(row, attempt, Pending(), now)
        elif absence_counts(row, self.terms(row.operation), now):
            if to_run:
                return True
            self._settle(row, attempt, failed("absent"), now)
        else:
            self.rows[row.interaction_id] = settled(row, Unknown(), attempt=attempt, now=now)
            self._tell(row.interaction_id, attempt, Pending())
        return False

    def _effect(self, interaction_id: str, now: Instant) -> None:
        repeat = self.repeats[self.operations[interaction_id]]
        first = self.first_effect.get(interaction_id)
        if repeat.kind == "safe":
            return
        if first is not None and repeat.kind == "idempotent" and now <= first + repeat.window:
            return  # the legacy system still has our key
        self.ledger[interaction_id] += 1
        self.first_effect.setdefault(interaction_id, now)

    def _completed(self, interaction_id: str) -> Completed:
        return Completed(data={"number": interaction_id})

    def _refusal(self) -> Refused:
        return Refused(reason_code="not_entitled", text=WORDS)

    def _settle(self, row: Row, attempt: int, reply: Reply, now: Instant) -> None:
        self.rows[row.interaction_id] = settled(row, reply, attempt=attempt, now=now)
        self.recorded[row.interaction_id] = (reply, attempt)
        self._tell(row.interaction_id, attempt, reply)

    def _tell(self, interaction_id: str, attempt: int, reply: Reply) -> None:
        self.journal = replace(self.journal, seq=self.journal.seq + 1)
        digest = f"{type(reply).__name__}/{interaction_id}"
        self.send(Answer(interaction_id=interaction_id, attempt=attempt, reply=reply, digest=digest))
