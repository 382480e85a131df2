"""Whatever is lost, repeated or restored: no effect twice, and an unknown one is never told as none.

The machine drives the real receiver, intake, calls and journal of two hosts that share one file, against a legacy
system whose ledger is the truth. Processes die between any two steps, messages come twice and in any order, the
journal is lost or replaced by an old copy.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bus import logs
from bus.adapter import Absent, Adapter, AgencyUnavailableError, Found, LookUp, Reply, Task
from bus.journals.sqlite import SqliteJournal
from bus.message.envelope import Message, MessageType, decode
from bus.message.identity import reference
from bus.message.replies import reply_from_message
from bus.message.reply import Completed, Effect, Failed
from bus.ports import JournalReply
from bus.process.definition import RepeatKind
from bus.receiver.ask import asked
from bus.runtime.host_call import Calls
from bus.runtime.host_intake import Sorted, Taken, take
from bus.runtime.host_setup import HostSetup, Work
from tests.support.host_rig import AGENCY, CONTRACTS, NOW, OPERATIONS, SETTINGS, Messages, meaning

#: What one call meets. ``raise`` and ``hang`` come after the effect, ``die`` and ``die_before`` take the host along.
MODES = (
    "succeed",
    "refuse",
    "return",
    "later",
    "busy",
    "garbage",
    "short",
    "down",
    "raise",
    "raise_before",
    "hang",
    "die",
    "die_before",
)
#: How long the legacy system keeps our key.
WINDOW = 86_400_000
HARMLESS = {"refuse", "return", "busy", "raise_before", "die_before"}
KINDS: tuple[RepeatKind, ...] = ("at_most_once", "queryable", "natural_key", "idempotent")
STEP = "deed"
HOSTS = st.integers(0, 1)


class Ledger(Adapter):
    """A legacy system that does as it is told, keeps our key, and writes every effect down."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__({})
        self.clock = clock
        self.effects: Counter[str] = Counter()
        #: When an effect first came with a key.
        self.keys: dict[str, int] = {}
        self.mode = "succeed"
        self.is_reached = threading.Event()
        self.released = threading.Event()

    def prepare(self, operation: str, tasks: Sequence[Task]) -> tuple[bytes, ...]:
        return tuple(task.reference.encode() for task in tasks)

    def call(self, operation: str, native: Sequence[bytes]) -> tuple[bytes, ...]:
        mode = self.mode
        if mode == "down":
            raise AgencyUnavailableError
        answers = [self._one(one.decode(), mode, keeps_key="idempotent" in operation) for one in native]
        self.is_reached.set()
        if mode == "hang":
            self.released.wait(60)
        if mode in {"raise", "raise_before", "die", "die_before"}:
            raise ConnectionResetError
        return tuple(answers[:-1] if mode == "short" else answers)

    def _one(self, ref: str, mode: str, *, keeps_key: bool) -> bytes:
        is_known = keeps_key and self.clock() <= self.keys.get(ref, -WINDOW) + WINDOW
        if is_known and mode != "busy":
            return json.dumps([ref, "succeed"]).encode()
        if mode not in HARMLESS:
            self.effects[ref] += 1
            self.keys.setdefault(ref, self.clock())
        return json.dumps([ref, mode]).encode()

    def read(self, operation: str, raw: Sequence[bytes]) -> tuple[Reply, ...]:
        return tuple(meaning(one) for one in raw)

    def look_up(self, operation: str, references: Sequence[str]) -> tuple[LookUp, ...]:
        if self.mode == "down":
            raise AgencyUnavailableError
        return tuple(
            Found(raw=json.dumps([one, "succeed"]).encode()) if self.effects[one] else Absent() for one in references
        )


class HostMachine(RuleBasedStateMachine):
    @initialize(kind=st.sampled_from(KINDS))
    def begin_life(self, kind: RepeatKind) -> None:
        self.kind = kind
        # In memory where the machine has such a folder: a power cut is not what is tested here.
        memory = Path("/dev/shm")  # noqa: S108  (only where, the folder itself is private)
        self.folder = Path(tempfile.mkdtemp(prefix="journal-", dir=memory if memory.is_dir() else None))
        self.now = NOW
        self.legacy = Ledger(lambda: self.now)
        self.life = 0
        self.journals = [SqliteJournal(self.folder / "0.db")]
        self.hosts = [self.new_calls(0), self.new_calls(1)]
        self.copy: Path | None = None
        self.messages = Messages()
        self.wire: list[Message] = []
        #: Journal and instant of the first dispatch of the step: what all its tasks carry, also the edited ones.
        self.first: tuple[str, int] | None = None
        self.attempt = 0
        self.edits = 0
        #: Interaction -> greatest attempt that this journal called without effect.
        self.told_none: dict[str, int] = {}

    # --- the bus ----------------------------------------------------------------------------------------------------

    def send(self, type_: MessageType, attempt: int) -> Message:
        identity = self.journals[0].identity()
        self.first = self.first or (identity.journal_id, self.now)
        is_task = type_ is MessageType.TASK_REQUESTED
        message = self.messages.message(
            type_,
            STEP,
            kind=self.kind,
            data={"do": "it"} if is_task else None,
            attempt=attempt,
            edit=self.edits,
            supersedes=self.messages.interaction(STEP, self.edits - 1) if self.edits and is_task else None,
            journalid=self.first[0],
            firstsent=self.first[1],
            expirytime=self.now + 60_000,
        )
        self.wire.append(message)
        return message

    @rule(host=HOSTS)
    def task(self, host: int) -> None:
        self.attempt += 1
        self.deliver(host, self.send(MessageType.TASK_REQUESTED, self.attempt))

    @rule(host=HOSTS, mode=st.sampled_from(MODES))
    def task_at_work(self, host: int, mode: str) -> None:
        self.task(host)
        self.work(host, mode, 2)

    @precondition(lambda self: self.attempt)
    @rule(
        type_=st.sampled_from((MessageType.TASK_QUERIED, MessageType.TASK_WITHDRAWN)), host=HOSTS, ahead=st.booleans()
    )
    def ask(self, type_: MessageType, host: int, *, ahead: bool) -> None:
        """``ahead``: about an attempt whose task is still on its way."""
        if ahead:
            self.attempt += 1
            self.send(MessageType.TASK_REQUESTED, self.attempt)
        self.deliver(host, self.send(type_, self.attempt))

    @precondition(lambda self: self.attempt and self.edits < 2)
    @rule()
    def edit(self) -> None:
        self.edits += 1
        self.attempt = 0

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), host=HOSTS, mode=st.sampled_from((None, *MODES)))
    def redeliver(self, data: st.DataObject, host: int, mode: str | None) -> None:
        self.deliver(host, self.wire[data.draw(st.integers(0, len(self.wire) - 1))])
        if mode is not None:
            self.work(host, mode, 2)

    def deliver(self, host: int, message: Message) -> None:
        batch = Sorted(asks=[(asked(message, AGENCY), message)])
        before = self.legacy.effects.copy()
        taken = take(self.hosts[host][0], batch, ())
        assert self.legacy.effects == before
        self.hosts[host][1].add(taken)
        self.hear(taken.replies)

    # --- the hosts --------------------------------------------------------------------------------------------------

    @rule(host=HOSTS, mode=st.sampled_from(MODES), times=st.integers(1, 4))
    def work(self, host: int, mode: str, times: int) -> None:
        """What waits is called, looked up or read again, and meets ``mode``."""
        for _ in range(times):
            self.legacy.mode = mode
            self.legacy.is_reached.clear()
            calls = self.hosts[host][1]
            before = self.legacy.effects.copy()
            self.hear(calls.begin())
            if not calls.is_busy:
                continue
            if mode == "hang":
                # Only a call hangs; a look-up answers.
                # The lane is the one thing that a test cannot see from outside.
                running = calls._lane._running  # noqa: SLF001
                while running is not None and not self.legacy.is_reached.is_set() and not running.future.done():
                    self.legacy.is_reached.wait(0.01)
                self.now += 600
                self.hear(calls.finish(0))
                self.check_effects(before)
                continue
            running = calls._lane._running  # noqa: SLF001
            assert running is not None
            running.future.exception(timeout=30)
            self.check_effects(before)
            if mode in {"die", "die_before"}:
                self.crash(host)
                return
            self.hear(calls.finish(0))

    @rule()
    def release(self) -> None:
        """What hung answers at last."""
        self.legacy.released.set()
        for _, calls in self.hosts:
            for running in calls._lane._hung:  # noqa: SLF001
                running.future.exception(timeout=30)
            self.hear(calls.finish(0))
        self.legacy.released.clear()

    @rule(host=HOSTS)
    def crash(self, host: int) -> None:
        """The process is gone; its successor runs again what was received and not begun."""
        self.hosts[host] = self.new_calls(host)
        waiting = self.journals[0].waiting(self.now, 1000)
        self.hosts[host][1].add(Taken(works=[Work(row=row, message=decode(body)) for row, body in waiting]))

    @rule(by=st.sampled_from((1, 400, 1_100, 2_100, 30_000, 86_400_000)))
    def time_passes(self, by: int) -> None:
        self.now += by

    # --- the journal ------------------------------------------------------------------------------------------------

    @rule()
    def save_a_copy(self) -> None:
        self.life += 1
        self.copy = self.folder / f"copy-{self.life}.db"
        self.journals[0]._connection.execute("VACUUM INTO ?", (str(self.copy),))  # noqa: SLF001

    @precondition(lambda self: self.copy is not None)
    @rule()
    def restore_the_copy(self) -> None:
        self.life += 1
        path = self.folder / f"{self.life}.db"
        assert self.copy is not None
        shutil.copy(self.copy, path)
        self.replace_journal(path)
        self.journals[0].renew(self.now)

    @rule(host=HOSTS, mode=st.sampled_from(MODES), again=st.sampled_from(MODES))
    def live_a_day_twice(self, host: int, mode: str, again: str) -> None:
        """What was done after the copy was made is forgotten by it, and the broker brings everything once more."""
        self.save_a_copy()
        self.work(host, mode, 2)
        self.restore_the_copy()
        self.work(host, again, 2)
        for message in list(self.wire):
            self.deliver(host, message)
        self.work(host, again, 2)

    @rule()
    def lose_the_journal(self) -> None:
        self.life += 1
        self.replace_journal(self.folder / f"{self.life}.db")

    def replace_journal(self, path: Path) -> None:
        self.journals[0].close()
        self.journals[0] = SqliteJournal(path)
        self.told_none.clear()
        if self.kind == "idempotent":
            # A known risk, which test_host_doubt shows: no journal can tell an older task from one to be tried again.
            current = self.messages.interaction(STEP, self.edits)
            self.wire = [message for message in self.wire if message.envelope.interactionid == current]
        self.crash(0)
        self.crash(1)

    # --- the promises -----------------------------------------------------------------------------------------------

    def check_effects(self, before: Counter[str]) -> None:
        ids = [self.messages.interaction(STEP, edit) for edit in range(3)]
        assert sum(self.legacy.effects[reference(one)] for one in ids) <= 1, "two effects"
        for one in ids:
            if self.legacy.effects[reference(one)] > before[reference(one)]:
                with self.journals[0].transaction() as transaction:
                    row = transaction.load([one])[one]
                assert row.attempt > self.told_none.get(one, 0), "an attempt ran that was said never to"

    def hear(self, replies: Sequence[JournalReply]) -> None:
        for sent in replies:
            message = decode(sent.body)
            reply, interaction = reply_from_message(message), message.envelope.interactionid or ""
            done = self.legacy.effects[reference(interaction)]
            if isinstance(reply, Completed):
                assert done == 1, "completed, and the ledger knows nothing of it"
            if isinstance(reply, Failed) and reply.effect is Effect.NONE:
                recorded_before = reply.code in {"busy", "unavailable", "absent", "not_begun"} and self.moved_on(
                    message
                )
                assert done == 0 or recorded_before, f"{reply.code} said none of an effect"
                if done == 0:
                    attempt = message.envelope.attempt or 0
                    self.told_none[interaction] = max(attempt, self.told_none.get(interaction, 0))

    def moved_on(self, message: Message) -> bool:
        """Whether a greater attempt has been received since: then this one's answer is history."""
        interaction = message.envelope.interactionid or ""
        with self.journals[0].transaction() as transaction:
            row = transaction.load([interaction]).get(interaction)
        return row is not None and row.attempt > (message.envelope.attempt or 0)

    def teardown(self) -> None:
        if not hasattr(self, "legacy"):
            return
        self.legacy.released.set()
        try:
            self.every_question_is_answered()
        finally:
            for _, calls in self.hosts:
                calls.close()
            self.journals[0].close()
            shutil.rmtree(self.folder)

    def every_question_is_answered(self) -> None:
        """Once nothing dies any more, each interaction can be asked about, and somebody answers."""
        self.now += 100_000
        self.hosts = [self.new_calls(0), self.new_calls(1)]
        self.crash(0)
        self.work(0, "succeed", 10)
        if self.attempt == 0:
            return
        message = self.send(MessageType.TASK_QUERIED, self.attempt)
        setup, calls = self.hosts[0]
        taken = take(setup, Sorted(asks=[(asked(message, AGENCY), message)]), ())
        calls.add(taken)
        heard = list(taken.replies)
        while not calls.is_idle:
            heard += [*calls.begin(), *calls.finish(400)]
        self.hear(heard)
        assert heard, "nobody answered"

    def new_calls(self, host: int) -> tuple[HostSetup, Calls]:
        setup = HostSetup(
            agency=AGENCY,
            adapter=self.legacy,
            simulator=None,
            operations=OPERATIONS,
            contracts=CONTRACTS,
            journal=self.journals[0],
            settings=replace(SETTINGS, late_margin=1_000),
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            process=f"process-{host}",
        )
        return setup, Calls(setup, logs.bind(agency=AGENCY))


TestHostMachine = HostMachine.TestCase
TestHostMachine.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
