"""One message of every type that the bus and its hosts build, from fixed ids and times, by the code that builds them.

All of it speaks of one small service: who buys a house is entered as the owner of its plot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bus.message.contract import DIALECT, urn
from bus.message.envelope import Envelope, Message, MessageType, decode, encode
from bus.message.instant import HOUR, MINUTE, Instant
from bus.message.reply import Completed, Data, Effect, Failed, Need, Pending, Refused, Reply, Returned, Unknown
from bus.message.text import Text
from bus.process import wire
from bus.process.closure import to_closure
from bus.process.definition import (
    Compensation,
    Condition,
    Const,
    Definition,
    Grant,
    OneOf,
    Purpose,
    Repeat,
    StepDefinition,
)
from bus.process.mapping import parse_path
from bus.process.state import Kind, Request, RequestState, Step, StepKey, StepState, Superseded
from bus.receiver.announcement import Admitted, Alive, Started, admitted_message, alive_message, started_message
from bus.receiver.row import JournalIdentity
from bus.runtime.host_reply import anew, recorded

NOW: Instant = 1_800_000_000_000
AGENCY = "land_office"
OPERATION = "deed.enter.v1"
JOURNAL = "6f1c1d0e-6d5f-4a34-9a59-0d8f8f7f8a11"
START = "2c6b5a0e-19f2-4a7e-8f7b-2f1c9a0d4b55"
_REQUEST = "0190a0f0-5a5a-8a5a-9a5a-5a5a5a5a5a5a"
_ID = "9d3f0c52-7b1e-4f6a-8c2d-3e5a7b9c1d2f"
_DATA: Data = {"do": "succeed", "owner": "منى عبد الله", "plot": "١٢/٤"}
_WORDS = Text(en="There is no plot of this number.", ar="لا توجد قطعة أرض بهذا الرقم.")

_DEED, _UNDO = StepKey(step="deed"), StepKey(step="deed", kind=Kind.COMPENSATION)
_SECOND_CHECK = StepKey(step="check", item=1)


def definition() -> Definition:
    """The service with everything that a definition can say."""
    check = StepDefinition(
        name="check",
        title=Text(en="Check of the owners", ar="التحقق من الملاك"),
        provider=OneOf(
            group="registries",
            by=parse_path("item.district"),
            members={"north": "registry_north", "south": "registry_south"},
            desks=frozenset({"registry_south"}),
        ),
        operation="person.check.v1",
        input={"owner": parse_path("item.owner")},
        repeat=Repeat(kind="safe"),
        for_each=parse_path("request.owners"),
        most=20,
        deadline=2 * HOUR,
    )
    deed = StepDefinition(
        name="deed",
        title=Text(en="Deed", ar="سند الملكية"),
        provider=AGENCY,
        operation=OPERATION,
        input={"owner": parse_path("request.owner"), "plot": parse_path("request.plot"), "do": Const(value="succeed")},
        repeat=Repeat(kind="queryable", absence_proof_after=5 * MINUTE),
        needs=("check",),
        when=Condition(path=parse_path("request.kind"), among=("house", "land")),
        compensate=Compensation(
            operation="deed.strike.v1",
            input={"number": parse_path("steps.deed.number")},
            repeat=Repeat(kind="at_most_once"),
        ),
    )
    return Definition(
        service="own-land.v1",
        title=Text(en="Own land", ar="تملّك أرض"),
        request_contract="service/own-land.v1.request",
        result_contract="service/own-land.v1.result",
        subject=parse_path("request.owner"),
        consumers={"portal": Grant(purposes=("land-transfer",), fields=("/number",))},
        purposes={
            "land-transfer": Purpose(title=Text(en="Transfer of land", ar="نقل ملكية أرض"), legal_basis="Law 9, art. 2")
        },
        steps={"check": check, "deed": deed},
        output={"number": parse_path("steps.deed.number"), "fee": parse_path("steps.deed.fee")},
    )


def contracts() -> Mapping[str, Data]:
    """The contracts of the service."""
    operations = [OPERATION, "deed.strike.v1", "person.check.v1"]
    names = [f"operation/{operation}.{side}" for operation in operations for side in ("input", "output")]
    names += ["service/own-land.v1.request", "service/own-land.v1.result"]
    return {name: {"$schema": DIALECT, "$id": urn(name), "type": "object"} for name in names}


def closure() -> bytes:
    """The service as the store holds it."""
    return to_closure(definition(), contracts())


def _step(key: StepKey, state: StepState, agency: str, **more: object) -> Step:
    values: dict[str, object] = {
        "attempt": 2,
        "first_sent": NOW - HOUR,
        "journal_id": JOURNAL,
        "expires_at": NOW + HOUR,
        "changed_at": NOW,
    }
    return Step(key=key, state=state, agency=agency, **{**values, **more})  # type: ignore[arg-type]


def _request(*steps: Step, state: RequestState = RequestState.OPEN) -> Request:
    return Request(
        id=_REQUEST,
        key=1,
        consumer="portal",
        service="own-land.v1",
        purpose="land-transfer",
        state=state,
        version=7,
        steps={step.key: step for step in steps},
    )


def _tasks() -> Iterator[tuple[str, Message]]:
    service = definition()
    edited = Superseded(edit=0, attempt=1)
    request = _request(
        _step(_DEED, StepState.DISPATCHED, AGENCY),
        _step(_UNDO, StepState.DISPATCHED, AGENCY, attempt=1),
        _step(_SECOND_CHECK, StepState.DISPATCHED, "registry_north"),
    )
    subject = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    yield "task.requested", wire.task(request, _DEED, service, _DATA, subject)
    yield "task.requested.item", wire.task(request, _SECOND_CHECK, service, {"owner": "١"}, subject)
    yield "task.requested.compensation", wire.task(request, _UNDO, service, {"number": "7"}, subject)
    yield "task.requested.trial", wire.task(replace(request, test=True), _DEED, service, _DATA, subject)
    edit = _request(_step(_DEED, StepState.DISPATCHED, AGENCY, edit=1, attempt=1, superseded=edited))
    yield "task.requested.edit", wire.task(edit, _DEED, service, _DATA, subject)
    yield "task.queried", wire.query(request, _DEED, service)
    yield "task.withdrawn", wire.withdrawal(request, _DEED, service)


#: Name of the file -> what the agency says.
REPLIES: Mapping[str, Reply] = {
    "task.completed": Completed(data={"number": "7", "owner": "منى عبد الله", "fee": 12.5}),
    "task.refused": Refused(reason_code="no_plot", text=_WORDS),
    "task.returned": Returned(needs=(Need(pointer="/plot", reason_code="missing", text=_WORDS),), within=90 * MINUTE),
    "task.returned.no_time": Returned(needs=(Need(pointer="/plot", reason_code="missing", text=_WORDS),)),
    "task.pending": Pending(),
    "task.failed": Failed(code="not_begun", effect=Effect.NONE, retryable=True),
    "task.failed.busy": Failed(
        code="busy", effect=Effect.NONE, retryable=True, retry_after=1_500, legacy_code="E-77", text=_WORDS
    ),
    "task.unknown": Unknown(),
}


def _replies(task: Message) -> Iterator[tuple[str, Message]]:
    journal = JournalIdentity(journal_id=JOURNAL, seq=41)
    for name, reply in REPLIES.items():
        if isinstance(reply, Pending | Unknown):
            told = anew(task.envelope, reply, attempt=2, journal=journal, now=NOW)
        else:
            told, _ = recorded(task.envelope, reply, attempt=2, journal=journal, now=NOW)
        yield name, decode(told.body)


#: Name of the file -> what host and bus say to each other.
ANNOUNCEMENTS: Mapping[str, Started | Admitted | Alive] = {
    "host.started": Started(
        agency=AGENCY,
        start_id=START,
        journal=JournalIdentity(journal_id=JOURNAL, seq=40, oldest=NOW - HOUR),
        operations={OPERATION: "ab" * 32},
        versions={"bus": "0.1.0", "adapter": "land_office"},
    ),
    "host.admitted": Admitted(agency=AGENCY, start_id=START, journal_id=JOURNAL, heard=39),
    "host.alive": Alive(agency=AGENCY, start_id=START, journal_id=JOURNAL, seq=41),
}


def _announcements() -> Iterator[tuple[str, Message]]:
    for name, said in ANNOUNCEMENTS.items():
        match said:
            case Started():
                yield name, started_message(said, id=_ID, now=NOW)
            case Admitted():
                yield name, admitted_message(said, id=_ID, now=NOW)
            case Alive():
                yield name, alive_message(said, id=_ID, now=NOW)
    yield "tick", encode(Envelope(id=_ID, source="/bus", type=MessageType.TICK, time=NOW), None)


def _results() -> Iterator[tuple[str, Message]]:
    service = definition()
    done = _step(_DEED, StepState.SUCCEEDED, AGENCY)
    refused = _step(_DEED, StepState.REFUSED, AGENCY, reason="no_plot")
    checked = _step(_SECOND_CHECK, StepState.SUCCEEDED, "registry_north")
    need = {"pointer": "/plot", "reason_code": "missing", "text": _WORDS.to_json()}
    output = {"number": "7", "fee": 12.5}
    yield "request.returned", wire.returned(_request(done), _DEED, {"needs": [need]}, NOW + HOUR, NOW)
    item = _request(checked)
    yield "request.returned.item", wire.returned(item, _SECOND_CHECK, {"needs": [need]}, None, NOW)
    ends: Mapping[RequestState, tuple[Step, ...]] = {
        RequestState.COMPLETED: (checked, done),
        RequestState.PARTIALLY_FULFILLED: (checked, replace(refused, state=StepState.FAILED)),
        RequestState.REJECTED: (checked, refused),
        RequestState.FAILED: (checked, replace(done, state=StepState.FAILED, reason="exhausted", left_behind=True)),
        RequestState.CANCELLED: (checked, done, _step(_UNDO, StepState.SUCCEEDED, AGENCY)),
        RequestState.EXPIRED: (replace(checked, state=StepState.EXPIRED, reason="deadline"),),
    }
    for state, steps in ends.items():
        has_data = state in {RequestState.COMPLETED, RequestState.PARTIALLY_FULFILLED}
        words = {_DEED: _WORDS.to_json()} if state is RequestState.REJECTED else {}
        request = _request(*steps, state=state)
        yield f"request.{state}", wire.result(request, service, output if has_data else None, words, NOW)


def _submissions() -> Iterator[tuple[str, Message]]:
    envelope = Envelope(
        id="order-4711",
        source="/agency/portal",
        type=MessageType.REQUEST_SUBMITTED,
        time=NOW,
        service="own-land.v1",
        consumer="portal",
        purposeid="land-transfer",
        actor="official-12",
    )
    yield "request.submitted", encode(envelope, {"owner": "منى عبد الله", "plot": "١٢/٤", "kind": "house"})


def messages() -> dict[str, Message]:
    """By the name of their file."""
    tasks = dict(_tasks())
    found = {**tasks, **dict(_replies(tasks["task.requested"]))}
    return {**found, **dict(_announcements()), **dict(_results()), **dict(_submissions())}


#: Types of which the vocabulary speaks and which nothing builds yet.
NOT_BUILT = frozenset(
    {
        MessageType.REQUEST_ACCEPTED,
        MessageType.REQUEST_NOT_ACCEPTED,
        MessageType.REQUEST_SUPPLEMENTED,
        MessageType.RESULT_COLLECTED,
    }
)
