"""Submitting: how a consumer's question becomes a request, once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any

from pydantic import Field

from bus.catalog import Service
from bus.errors import ConflictError, Fault, ForbiddenError, InvalidMessageError
from bus.killpoint import reach
from bus.message.envelope import MessageType
from bus.message.identity import message_id, request_id, subject, tracking
from bus.message.instant import to_rfc3339
from bus.message.reply import Data
from bus.message.strict_json import canonical, dump, pointer_to
from bus.message.text import Text
from bus.operations.caller import Caller
from bus.operations.conflict import applied
from bus.operations.context import Context
from bus.operations.given import ServiceName
from bus.operations.operation import Command, Given
from bus.ports import Decided, Fate, Incoming, Payload, Submission
from bus.process.definition import Definition
from bus.process.event import Submitted
from bus.process.mapping import conditions_from_request, resolve

_PRINTABLE = r"^[\x21-\x7e]+$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """A question to the agencies."""

    service: ServiceName
    data: Annotated[
        dict[str, Any],
        Given(
            place="body", summary=Text(en="The request, as its contract says.", ar="بيانات الطلب وفق صيغتها المعتمدة.")
        ),
    ]
    key: Annotated[
        str,
        Field(max_length=128, pattern=_PRINTABLE),
        Given(
            place="header",
            header="Idempotency-Key",
            summary=Text(
                en="Your own key of this submission: the same key is the same request, for ever.",
                ar="مفتاحك لهذا التقديم: المفتاح نفسه هو الطلب نفسه دائمًا.",
            ),
        ),
    ]
    purpose: Annotated[
        str | None,
        Field(max_length=64),
        Given(
            place="header",
            header="Bus-Purpose",
            summary=Text(
                en="Why you ask; may be left out where you are granted one purpose only.",
                ar="غرض الطلب؛ يمكن تركه إذا كان لك غرض واحد مسموح به.",
            ),
        ),
    ] = None
    actor: Annotated[
        str | None,
        Field(max_length=64, pattern=r"^[A-Za-z0-9._@-]+$"),
        Given(
            place="header",
            header="Bus-Actor",
            summary=Text(en="The official who asks, by his staff id.", ar="الموظف الطالب، برقمه الوظيفي."),
        ),
    ] = None
    reference: Annotated[
        str | None,
        Field(max_length=128, pattern=_PRINTABLE),
        Given(
            place="header",
            header="Bus-Reference",
            summary=Text(en="Your own file number; kept as a keyed hash.", ar="رقم ملفك؛ لا تُحفظ منه إلا بصمته."),
        ),
    ] = None
    test: Annotated[
        bool,
        Given(
            place="header",
            header="Bus-Test",
            summary=Text(
                en="A trial: goes to simulators only and counts in no statistic.",
                ar="تجربة: تُرسل إلى المحاكيات فقط ولا تُحسب في الإحصاءات.",
            ),
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The promise: this request ends in one outcome. Given after it is written."""

    request_id: str
    #: For people: can be read over the phone.
    tracking: str
    key: str
    #: SHA-256 of JCS([service, purpose, data]), hexadecimal.
    digest: str
    revision: str
    expected_by: str | None
    state: str
    #: Whether it was accepted before.
    repeated: bool


def submit(context: Context, caller: Caller, given: Submit) -> Command[Receipt]:
    """Check the right and the contract, and make the request; the same submission again gets the same receipt.

    ForbiddenError without a grant for the purpose; InvalidMessageError with every fault of the data.
    """
    consumer = caller.acting_agency()
    service = context.service(given.service)
    purpose = _purpose(service.definition, consumer, given.purpose)
    digest = hashlib.sha256(canonical([given.service, purpose, given.data])).digest()
    id_ = request_id(context.secret, consumer, given.key)
    _check(context, service.definition, id_, given.data, digest)
    key, data_id = context.keys.take(2)
    submission = Submission(
        request_key=key,
        request_id=id_,
        consumer=consumer,
        submission_key=given.key,
        digest=digest,
        tracking=_free_tracking(context, id_),
        subject=_subject(context, service.definition, given.data),
        reference=_reference(context, consumer, given.reference),
    )
    event = _submitted(submission, service, caller, given, purpose=purpose, data_id=data_id)
    payload = Payload(id=data_id, request_key=key, bytes=dump(given.data))
    incoming = Incoming(request_id=id_, event=event, payloads=(payload,), submission=submission)
    return Command(incoming=incoming, answer=lambda decided: _receipt(context, caller, submission, decided))


def status_of_receipt(receipt: Receipt) -> int:
    """202 for a new request, 200 for one that was accepted before."""
    return 200 if receipt.repeated else 202


def field_names(data: Data, path: tuple[str, ...] = ()) -> tuple[str, ...]:
    """JSON pointers to the members of ``data`` that hold no further object: what facts name, never the values."""
    names: list[str] = []
    for name, value in data.items():
        here = (*path, name)
        names += field_names(value, here) if isinstance(value, Mapping) else (pointer_to(here),)
    return tuple(names)


def _submitted(
    submission: Submission, service: Service, caller: Caller, given: Submit, *, purpose: str, data_id: int
) -> Submitted:
    return Submitted(
        request_id=submission.request_id,
        key=submission.request_key,
        consumer=submission.consumer,
        service=given.service,
        revision=service.revision,
        purpose=purpose,
        data_id=data_id,
        message_id=message_id(submission.request_id, 1, MessageType.REQUEST_SUBMITTED),
        conditions=conditions_from_request(service.definition, given.data),
        fields=field_names(given.data),
        actor=caller.actor(given.actor),
        test=given.test,
    )


def _purpose(definition: Definition, consumer: str, named: str | None) -> str:
    grant = definition.consumers.get(consumer)
    if grant is None:
        raise ForbiddenError(
            f"{consumer} may not ask for this service.",
            code="service-not-granted",
            mend="The service grants it under `consumers` in routes.yaml.",
        )
    if named is None and len(grant.purposes) == 1:
        return grant.purposes[0]
    if named is None:
        fault = Fault(
            code="purpose-needed",
            message="The header Bus-Purpose is missing.",
            mend=f"Name one of: {', '.join(grant.purposes)}.",
        )
        raise InvalidMessageError((fault,))
    if named not in grant.purposes:
        raise ForbiddenError(
            f"{consumer} may not ask for this service for that purpose.",
            code="purpose-not-granted",
            mend=f"Granted: {', '.join(grant.purposes) or 'none'}.",
        )
    return named


def _check(context: Context, definition: Definition, id_: str, data: Data, digest: bytes) -> None:
    contracts = context.workspace.contracts
    if contracts.accepts(definition.request_contract, data):
        return
    before = context.store.submission_of(id_)
    # What was accepted stays accepted, also when the contract has become stricter since.
    if before is None or before.digest != digest:
        contracts.check(definition.request_contract, data)


def _free_tracking(context: Context, id_: str) -> str:
    for n in count():
        code = tracking(context.secret, id_, n)
        if context.store.find(code) in {None, id_}:
            return code
    raise AssertionError("unreachable")


def _subject(context: Context, definition: Definition, data: Data) -> str:
    found = resolve({"subject": definition.subject}, request=data, steps={})
    return subject(context.secret, str(found.get("subject", "")))


def _reference(context: Context, consumer: str, reference: str | None) -> str | None:
    # A consumer's references are its own: the same number of two consumers is not the same.
    return None if reference is None else subject(context.secret, f"reference {consumer} {reference}")


def _receipt(context: Context, caller: Caller, wanted: Submission, decided: Decided) -> Receipt:
    reach("gateway.committed")
    kept = wanted
    if decided.fate in {Fate.DUPLICATE, Fate.CONFLICT}:
        before = context.store.submission_of(wanted.request_id)
        if before is not None and before.digest != wanted.digest:
            raise ConflictError(
                "This key was used before for another submission.",
                code="key-reused",
                mend="Use a new Idempotency-Key for a new request.",
            )
        kept = before or wanted
    request = applied(decided, caller)
    return Receipt(
        request_id=request.id,
        tracking=kept.tracking,
        key=kept.submission_key,
        digest=kept.digest.hex(),
        revision=request.revision,
        expected_by=to_rfc3339(request.deadline_at) if request.deadline_at is not None else None,
        state=request.state.value,
        repeated=decided.fate is Fate.DUPLICATE,
    )
