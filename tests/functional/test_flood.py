"""One open failure for each cause: whoever floods the bus makes one line that grows, and hides nobody else's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import pytest

from bus.cli.show import as_text
from bus.message.key import Keys
from bus.operations.caller import Caller, Role
from bus.operations.failure import ListFailures, list_failures
from bus.ports import MOST_KEPT
from bus.process.state import StepState
from bus.runtime.dispatcher import Dispatcher
from bus.runtime.hosts import Hosts
from bus.runtime.process_manager import ProcessManager
from bus.runtime.replies import ReplyConsumer
from tests.support.runtime_rig import AGENCIES, OPERATION, A, B, RuntimeRig, runtime


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RuntimeRig]:
    with runtime(tmp_path) as made:
        made.admit(*AGENCIES)
        yield made


def another_process(rig: RuntimeRig) -> ProcessManager:
    """One that shares the store and the broker, or the same one after it began anew."""
    tools = rig.parts.tools
    dispatcher = Dispatcher(rig.store, rig.settings)
    return ProcessManager(store=rig.store, publisher=rig.broker.publisher, tools=tools, dispatcher=dispatcher)


def test_a_flood_of_bad_messages_from_one_agency_is_one_failure_and_hides_no_others(rig: RuntimeRig) -> None:
    # Given a request of which a reply is expected
    (request,) = rig.submit("one")
    (task,) = rig.tasks(A)
    # When the other agency sends nothing but rubbish, and this one a single bad message
    for number in range(250):
        rig.say_bytes(B, f"rubbish {number}".encode())
    rig.say_bytes(A, b"\xff")
    rig.answer(rig.reply(task))
    # Then each is one failure that says how often, the flood is kept up to the bound, and replies go on
    shown = {failure.agency: failure for failure in rig.failures()}
    assert {agency: failure.times for agency, failure in shown.items()} == {A: 1, B: 250}
    assert len(rig.store.failure_messages(shown[B].key)) == MOST_KEPT
    assert rig.evidence(shown[A]) == b"\xff"
    assert rig.step(request).state is StepState.SUCCEEDED
    assert rig.store.recount() == ()


def test_a_second_journal_that_knocks_at_several_processes_is_one_failure_that_counts(rig: RuntimeRig) -> None:
    # Given a second journal of an agency, which one process refused
    stranger = str(uuid4())
    rig.admit(A, journal=stranger)
    # When it knocks again, at another process or at the same one after it began anew
    keys = Keys(rig.store.now, 7)
    rig.consumer = ReplyConsumer(rig.broker_consumer, another_process(rig), Hosts(keys), keys, rig.settings)
    rig.admit(A, journal=stranger)
    rig.admit(A, journal=stranger)
    # Then there is one failure, which says that it goes on
    assert [(failure.code, failure.times) for failure in rig.failures()] == [("second_journal", 3)]


def test_an_operation_that_nobody_offers_is_one_failure_also_where_several_processes_miss_it(rig: RuntimeRig) -> None:
    # Given two processes that began before anything was missed, and a host that lacks the operation
    others = [another_process(rig), another_process(rig)]
    rig.admit(A, operations={"other.do.v1": "0" * 64})
    # When each of them has a request that wants it
    rig.submit("one")
    for number, other in enumerate(others):
        other.decide([rig.incoming(f"more {number}")])
    # Then
    assert [failure.cause for failure in rig.failures()] == [f"{A}/{OPERATION}/not_offered"]


def test_a_list_that_one_cause_fills_names_all_the_others(rig: RuntimeRig) -> None:
    # Given replies to requests that nobody knows, and then a bad message of another agency
    rig.submit("one")
    (task,) = rig.tasks(B)
    rig.answer(*(rig.reply(task, correlationid=f"{number:08}-1111-8111-8111-111111111111") for number in range(60)))
    rig.pass_time(1)
    rig.say_bytes(A, b"\xff")
    rig.settle()
    caller = Caller(user="olga", role=Role.OPERATOR)
    # When the first page is shown
    page = list_failures(rig.parts.context, caller, ListFailures())
    # Then it says what all of them are
    assert {line.code for line in page.items} == {"orphan"}
    assert [(line.cause, line.failures) for line in page.causes] == [
        (f"{A}/-/invalid:not-utf8", 1),
        (f"{B}/-/orphan", 60),
    ]
    # And the next page does not go over all of them again
    following = list_failures(rig.parts.context, caller, ListFailures(after=int(page.items[-1].failure), most=5))
    assert (len(following.items), following.causes) == (5, ())
    # And each cause can be shown without the others
    one = list_failures(rig.parts.context, caller, ListFailures(cause=page.causes[0].cause))
    assert [(line.agency, line.times) for line in one.items] == [(A, 1)]
    assert one.causes == ()
    # And a person reads it as two tables
    text = as_text(json.loads(json.dumps(asdict(page), default=str)), "en")
    assert re.search(rf"\ncauses:\n +CAUSE .*\n +{A}/-/invalid:not-utf8 +1 +1 ", text)
