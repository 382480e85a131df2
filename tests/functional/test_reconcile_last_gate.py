"""Whatever code forgets to ask: nothing but look-ups leaves a store that was restored."""

from __future__ import annotations

from pathlib import Path

from bus.message.envelope import MessageType
from bus.ports import Act
from bus.process.decision import ResendTask, SendQuery, SendWithdrawal
from bus.process.state import StepKey
from bus.runtime.dispatcher import Dispatcher
from bus.runtime.process_manager import ProcessManager
from bus.runtime.work import Work
from tests.support.runtime_rig import A, RuntimeRig, runtime

STEP = StepKey(step=A)


def send_all(rig: RuntimeRig, manager: ProcessManager, request: str) -> set[str]:
    """A transaction that sends whatever it likes to a provider; the types of what came there."""

    def careless(work: Work) -> None:
        work.load([request])
        for send in (ResendTask(step=STEP), SendWithdrawal(step=STEP), SendQuery(step=STEP)):
            work.posting.send(work.cases[request], send)

    manager.settle([], careless)
    return {str(message.envelope.type) for message in rig.tasks(A)}


def test_of_all_that_is_sent_from_a_restored_store_only_look_ups_leave(tmp_path: Path) -> None:
    with runtime(tmp_path) as rig:
        # Given a request whose task was sent, and code that sends without asking whether it may
        rig.admit(A)
        (request,) = rig.submit("one")
        assert len(rig.tasks(A)) == 1
        everything = {MessageType.TASK_REQUESTED, MessageType.TASK_WITHDRAWN, MessageType.TASK_QUERIED}
        assert send_all(rig, rig.manager, request) == everything
        # When the store is that of a backup, and a process manager starts on it
        rig.manager.flush()
        rig.store.begin_reconcile(Act(actor="tester", what="store_restored", target="store"))
        tools = rig.parts.tools
        dispatcher = Dispatcher(rig.store, tools.settings)
        restored = ProcessManager(store=rig.store, publisher=rig.broker.publisher, tools=tools, dispatcher=dispatcher)
        # Then of the same only the look-up leaves, and the rest is not kept to leave later either
        assert send_all(rig, restored, request) == {MessageType.TASK_QUERIED}
        assert {kind for (kind,) in rig.sql("SELECT type FROM outbox")} <= {MessageType.TASK_QUERIED}
        restored.close()
