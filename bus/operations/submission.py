"""Submitting: how a consumer's question becomes a request, once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol

from pydantic import Field

from bus.catalog import Service
from bus.errors import ConflictError, Fault, InvalidMessageError
from bus.killpoint import reach
from bus.message.envelope import MessageType
from bus.message.identity import message_id, request_id, subject, tracking
from bus.message.instant import to_rfc3339
from bus.message.reply import Data
from bus.message.strict_json import canonical, dump, field_pointers
from bus.message.text import Text
from bus.operations.admission import may_ask
from bus.operations.caller import Caller
from bus.operations.conflict import applied
from bus.operations.context import Context
from bus.operations.given import OnBehalfOf, PreferredWait, ServiceName
from bus.operations.grant import granted_purpose
from bus.operations.operation import Command, Given
from bus.operations.request_view import RequestView, ShowRequest, show_request
from bus.ports import Decided, Fate, Incoming, Payload, Submission
from bus.process.definition import Definition
from bus.process.event import Submitted
from bus.process.mapping import conditions_from_request, resolve
from bus.process.rows import rows_from_request, unknown_members
from bus.process.state import ALIVE

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
            summary=Text(
                en="Your own file number; kept with the data only, found again by a keyed hash.",
                ar="رقم ملفك؛ يُحفظ مع البيانات فقط، ويُبحث عنه ببصمته.",
            ),
        ),
    ] = None
    on_behalf_of: OnBehalfOf = None
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
    wait: PreferredWait = 0


class Preferring(Protocol):
    """Whatever is given with ``Prefer: wait=N``."""

    @property
    def wait(self) -> int:
        """For how many seconds the outcome is waited for."""


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

    NotGrantedError without a grant for the purpose; InvalidMessageError with every fault of the data.
    """
    return proposed(context, caller, given)


def proposed(context: Context, caller: Caller, given: Submit, event: bytes | None = None) -> Command[Receipt]:
    """As `submit`; ``event`` is the exact message by which it was submitted, which is then kept as the evidence."""
    consumer = caller.acting_agency()
    service = context.service(given.service)
    purpose = granted_purpose(service, consumer, given.purpose)
    digest = digest_of(given.service, purpose, given.data)
    id_ = request_id(context.secret, consumer, given.key)
    context.admission.check(consumer, given.key, lambda: may_ask(service.definition, given.data))
    _check(context, service.definition, id_, given.data, digest)
    key, data_id, said_id = context.keys.take(3)
    said = event if event is not None else _said(given)
    submission = Submission(
        request_key=key,
        request_id=id_,
        consumer=consumer,
        submission_key=given.key,
        digest=digest,
        tracking=tracking(context.secret, id_),
        subject=_subject(context, service.definition, given.data),
        reference=hidden_reference(context, consumer, given.reference),
        on_behalf_of=hidden_principal(context, given.on_behalf_of),
        said_id=None if said is None else said_id,
    )
    submitted = _submitted(submission, service, caller, given, purpose=purpose, data_id=data_id)
    payloads = [Payload(id=data_id, request_key=key, bytes=dump(given.data))]
    if said is not None:
        # The digest in the first fact is that of the first payload: of the message itself, where there is one.
        payloads.insert(1 if event is None else 0, Payload(id=said_id, request_key=key, bytes=said))
    incoming = Incoming(request_id=id_, event=submitted, payloads=tuple(payloads), submission=submission)
    return _command(context, caller, incoming, submission)


def ended_in_time(context: Context, caller: Caller, receipt: Receipt) -> RequestView | None:
    """The request as its consumer sees it, once it has ended."""
    request = context.store.request(receipt.request_id)
    if request is None or request.state in ALIVE:
        return None
    return show_request(context, caller, ShowRequest(request=receipt.request_id))


def headers_of_receipt(given: Preferring, receipt: Receipt) -> Mapping[str, str]:
    """Where the request is followed, and the preference that was applied (RFC 7240)."""
    applied_ = {"Preference-Applied": f"wait={given.wait}"} if given.wait else {}
    return {"Location": f"/v1/requests/{receipt.request_id}", **applied_}


def status_of_receipt(receipt: Receipt) -> int:
    """202 for a new request, 200 for one that was accepted before."""
    return 200 if receipt.repeated else 202


def digest_of(service: str, purpose: str, data: Data) -> bytes:
    """What makes two submissions under one key the same: SHA-256 of JCS([service, purpose, data])."""
    return hashlib.sha256(canonical([service, purpose, data])).digest()


def hidden_reference(context: Context, consumer: str, reference: str | None) -> str | None:
    """The keyed hash of a reference: of each consumer its own, the same number of two consumers is not the same."""
    return None if reference is None else subject(context.secret, f"reference {consumer} {reference}")


def hidden_principal(context: Context, principal: str | None) -> str | None:
    """The keyed hash of the person or body for whom something is asked."""
    return None if principal is None else subject(context.secret, f"on behalf of {principal}")


def _said(given: Submit) -> bytes | None:
    """What the consumer said beside the data, as it is kept."""
    said = {"reference": given.reference, "onbehalfof": given.on_behalf_of}
    present = {name: value for name, value in said.items() if value is not None}
    return dump(present) if present else None


def _command(
    context: Context, caller: Caller, incoming: Incoming, submission: Submission, *, taken: int = 0
) -> Command[Receipt]:
    """The first ``taken`` tracking codes of this request belong to other requests already."""
    return Command(
        incoming=incoming,
        answer=lambda decided: _receipt(context, caller, submission, decided),
        retracked=lambda: _retracked(context, caller, incoming, submission, taken + 1),
    )


def _retracked(
    context: Context, caller: Caller, incoming: Incoming, submission: Submission, taken: int
) -> Command[Receipt]:
    tracked = replace(submission, tracking=tracking(context.secret, submission.request_id, taken))
    return _command(context, caller, replace(incoming, submission=tracked), tracked, taken=taken)


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
        rows=rows_from_request(service.definition, given.data),
        fields=field_pointers(given.data),
        actor=caller.actor(given.actor),
        test=given.test,
    )


def _check(context: Context, definition: Definition, id_: str, data: Data, digest: bytes) -> None:
    contracts = context.workspace.contracts
    strangers = unknown_members(definition, data)
    if contracts.accepts(definition.request_contract, data) and not strangers:
        return
    before = context.store.submission_of(id_)
    # What was accepted stays accepted, also when the contract has become stricter since, or a group smaller.
    if before is None or before.digest != digest:
        contracts.check(definition.request_contract, data)
        raise InvalidMessageError(tuple(_stranger(definition, *stranger) for stranger in strangers))


def _stranger(definition: Definition, step: str, pointer: str) -> Fault:
    return Fault(
        code="provider-unknown",
        message=f"No member of {definition.steps[step].party} has this code.",
        mend="Use a code of the group: `bus route show` lists them.",
        pointer=pointer,
    )


def _subject(context: Context, definition: Definition, data: Data) -> str:
    found = resolve({"subject": definition.subject}, request=data, steps={})
    return subject(context.secret, str(found.get("subject", "")))


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
