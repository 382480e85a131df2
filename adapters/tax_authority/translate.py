"""Pure: tasks to SOAP messages, and the authority's answers to replies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lxml import etree

from bus.adapter import (
    Absent,
    Completed,
    Effect,
    Failed,
    Found,
    LookUp,
    Need,
    Refused,
    Reply,
    Returned,
    Task,
    Text,
    Unknown,
    Unsure,
)
from bus.record import Fault, InvalidMessageError

from . import service
from .answer import Answer, text_of, unpack

#: Our operation, the authority's, and the kind of its entry in the request book.
OPERATIONS = {"clearance.issue.v1": "IssueClearance", "clearance.cancel.v1": "CancelClearance"}
LOOK_UP = "FindClearance"
_KINDS = {"clearance.issue.v1": "ISSUE", "clearance.cancel.v1": "CANCEL"}
#: Where in a task's data each element comes from.
_SOURCES = {
    "clearance.issue.v1": {"NationalNumber": "national_id", "TaxpayerNumber": "taxpayer_number"},
    "clearance.cancel.v1": {"CertificateNumber": "certificate"},
}
_REFERENCE = re.compile(rb"<(?:[\w.-]+:)?ExternalReference>([^<]{1,20})</")
#: What a damaged answer must still show for its effect to be certain; all of it is ASCII in every page that we read.
_PROOFS = {
    "clearance.issue.v1": re.compile(rb"<(?:[\w.-]+:)?CertificateNumber>\s*[0-9]{4}-[0-9]{6}\s*<"),
    "clearance.cancel.v1": re.compile(rb"<(?:[\w.-]+:)?CancelledOn>\s*[0-9]{4}-[0-9]{2}-[0-9]{2}\s*<"),
}
_CODE = re.compile(r"\s*(TAX-[0-9]{4})\b", re.ASCII)
_OK = 200


def _returned(pointer: str, code: str, en: str, ar: str) -> Returned:
    return Returned(needs=(Need(pointer=pointer, reason_code=code, text=Text(en=en, ar=ar)),))


def _without_effect(code: str, en: str, ar: str, *, retryable: bool = False) -> Failed:
    return Failed(code=code, effect=Effect.NONE, retryable=retryable, text=Text(en=en, ar=ar))


_BUSY = _without_effect(
    "agency_busy", "The tax authority's system is busy.", "نظام مصلحة الضرائب مشغول حاليًا.", retryable=True
)
_CLOSED = _without_effect(
    "agency_closed", "The tax authority is closed at this hour.", "مصلحة الضرائب خارج أوقات الدوام.", retryable=True
)
_CREDENTIALS = _without_effect(
    "credentials_refused",
    "The tax authority does not accept the bus's user name and password.",
    "لم تقبل مصلحة الضرائب اسم مستخدم الناقل وكلمة مروره.",
)
_MALFORMED = _without_effect(
    "request_malformed",
    "The tax authority did not accept the form of the request.",
    "لم تقبل مصلحة الضرائب صيغة الطلب المرسل.",
)
_WRONG_ADDRESS = _without_effect(
    "wrong_address",
    "What answers at the configured address is not the tax authority's service.",
    "العنوان المضبوط لا تقابله خدمة مصلحة الضرائب.",
)
_BROKE_DOWN = Failed(
    code="agency_failed",
    effect=Effect.UNKNOWN,
    retryable=False,
    text=Text(en="The tax authority's system broke down at work.", ar="تعطّل نظام مصلحة الضرائب أثناء العمل."),
)
_CONTRADICTION = Failed(
    code="answer_contradictory",
    effect=Effect.UNKNOWN,
    retryable=False,
    text=Text(
        en="The tax authority reports success without saying what it did, or speaks of another request.",
        ar="أفادت مصلحة الضرائب بنجاح الطلب دون ذكر نتيجته، أو أجابت عن طلب آخر.",
    ),
)
#: What the codes at the start of a faultstring mean, whatever the HTTP status says.
_ALWAYS: Mapping[str, Reply] = {
    "TAX-0400": _MALFORMED,
    "TAX-0401": _CREDENTIALS,
    "TAX-0500": _BROKE_DOWN,
    "TAX-0503": _BUSY,
    "TAX-0504": _CLOSED,
}
_MEANINGS: Mapping[str, Mapping[str, Reply]] = {
    "clearance.issue.v1": {
        "TAX-0404": Refused(
            reason_code="not_registered",
            text=Text(
                en="The tax authority has no taxpayer with this national number.",
                ar="لا يوجد لدى مصلحة الضرائب ممول مسجل بهذا الرقم القومي.",
            ),
        ),
        "TAX-0413": Refused(
            reason_code="debts",
            text=Text(
                en="Taxes are due: pay them, or agree on instalments, and apply again.",
                ar="توجد مستحقات ضريبية: سدّدوها أو اتفقوا على تقسيطها ثم قدّموا الطلب من جديد.",
            ),
        ),
        "TAX-0414": Refused(
            reason_code="file_suspended",
            text=Text(en="The tax file is suspended.", ar="الملف الضريبي موقوف."),
        ),
        "TAX-0422": _returned(
            "/taxpayer_number",
            "taxpayer_number_missing",
            "Several tax files stand under this name: give the taxpayer number, nine digits.",
            "توجد عدة ملفات ضريبية بهذا الاسم: اكتبوا رقم التسجيل الضريبي المكون من 9 أرقام.",
        ),
        "TAX-0423": _returned(
            "/taxpayer_number",
            "taxpayer_number_wrong",
            "The taxpayer number belongs to somebody else: correct it.",
            "رقم التسجيل الضريبي يخص ممولًا آخر: صحّحوه.",
        ),
    },
    "clearance.cancel.v1": {
        "TAX-0405": Refused(
            reason_code="certificate_not_found",
            text=Text(
                en="The tax authority has no certificate with this number.",
                ar="لا توجد لدى مصلحة الضرائب شهادة بهذا الرقم.",
            ),
        ),
        # Numbers are never given twice: what was to be cancelled is cancelled, whoever did it.
        "TAX-0406": Completed(data={"cancelled": True}),
    },
}
#: What a status means where the body is no SOAP message: something in front of the service answered.
_STATUSES: Mapping[int, Failed] = {
    **dict.fromkeys((429, 503), _BUSY),
    **dict.fromkeys((401, 403, 407), _CREDENTIALS),
    **dict.fromkeys((301, 302, 303, 307, 308, 404, 405, 410), _WRONG_ADDRESS),
    **dict.fromkeys((400, 411, 413, 414, 415), _MALFORMED),
}
#: What is wrong with an unreadable answer, by the code of its first fault.
_WHY = {
    "wrong-encoding": "بايتاته لا توافق الترميز المعلن فيه؛ حدّدوا الترميز الفعلي في الإعداد read_as ثم أعيدوا المحاولة",
    "unknown-encoding": "يعلن ترميزًا غير معروف",
    "cut": "وصل ناقصًا",
    "document-type": "يحتوي على تعريف DOCTYPE، وهو غير مسموح",
    "not-xml": "ليس بصيغة XML سليمة",
    "not-soap": "ليس رسالة SOAP",
    "against-schema": "يخالف وصف الخدمة المعتمد",
    "unknown-code": "يحمل رمز خطأ غير معروف",
}
#: Fault codes of SOAP itself with which a service refuses a message before it works on it.
_REFUSED_UNREAD = ("Client", "VersionMismatch", "MustUnderstand")


# --- what is sent ---------------------------------------------------------------------------------------------------


def requests(operation: str, tasks: Sequence[Task]) -> tuple[bytes, ...]:
    """The SOAP message of each task; an InvalidMessageError names all that the authority's schema does not allow."""
    return tuple(_request(operation, task) for task in tasks)


def question(reference: str) -> bytes:
    """The SOAP message that asks what became of a reference."""
    return service.request(LOOK_UP, {"ExternalReference": reference})


def reference_in(message: bytes) -> str:
    """The reference that a message of ours carries."""
    found = _REFERENCE.search(message)
    return found[1].decode("ascii") if found else ""


def _request(operation: str, task: Task) -> bytes:
    sources = _SOURCES[operation]
    values = {element: task.data.get(name) for element, name in sources.items()}
    try:
        return service.request(OPERATIONS[operation], {"ExternalReference": task.reference, **values})
    except InvalidMessageError as error:
        raise InvalidMessageError(tuple(_in_task(fault, sources) for fault in error.faults)) from error


def _in_task(fault: Fault, sources: Mapping[str, str]) -> Fault:
    name = sources.get(fault.pointer.removeprefix("/"))
    return replace(fault, pointer=f"/{name}") if name else fault


# --- what comes back ------------------------------------------------------------------------------------------------


def replies(operation: str, raw: Sequence[bytes], read_as: str | None = None) -> tuple[Reply, ...]:
    """What each answer means; one that cannot be read is a `Failed` of its own and spoils no other.

    ``b""`` stands for an answer that never came. An answer of the look-up that shows the effect reads like the answer
    that was lost.
    """
    return tuple(_reply(operation, one, read_as) if one else Unknown() for one in raw)


def found(operation: str, raw: bytes, read_as: str | None = None) -> LookUp:
    """What an answer of the look-up proves. One that is damaged, and still shows the effect, is kept as found."""
    try:
        answer = unpack(raw)
        _, element = _message(answer, read_as)
        if _local(element) != f"{LOOK_UP}Response":
            return Unsure()
        service.validate(element)
    except InvalidMessageError:
        return Found(raw=raw) if _shows_effect(operation, raw) else Unsure()
    if _text(element, "ExternalReference") != answer.reference:
        return Unsure()
    states = {_text(entry, "State") for entry in _entries(element) if _text(entry, "Kind") == _KINDS[operation]}
    if "DONE" in states:
        return Found(raw=raw)
    return Unsure() if "RECEIVED" in states else Absent()


def _reply(operation: str, raw: bytes, read_as: str | None) -> Reply:
    answer: Answer | None = None
    try:
        answer = unpack(raw)
        envelope, element = _message(answer, read_as)
        if element.tag == f"{{{service.SOAP}}}Fault":
            return _fault_reply(operation, answer, element)
        if answer.status != _OK:
            return replace(_BROKE_DOWN, legacy_code=f"HTTP {answer.status}")
        service.validate(element)
        return _success(operation, answer, envelope, element)
    except InvalidMessageError as error:
        if answer is not None and answer.status in _STATUSES:
            return _waiting(_STATUSES[answer.status], answer.retry_after, f"HTTP {answer.status}")
        return _unreadable(operation, raw, answer, error.faults)


def _message(answer: Answer, read_as: str | None) -> tuple[Any, Any]:
    """The envelope, and the one element that it carries."""
    envelope = service.parse(text_of(answer, read_as))
    return envelope, service.payload(envelope)


def _success(operation: str, answer: Answer, envelope: Any, element: Any) -> Reply:
    name = _local(element)
    if name not in (f"{OPERATIONS[operation]}Response", f"{LOOK_UP}Response"):
        raise service.fault("wrong-operation", "an answer to another operation, which was not asked.")
    read = service.typed(name.removesuffix("Response"), envelope)
    if read.ExternalReference != answer.reference:
        return _CONTRADICTION
    if name == f"{LOOK_UP}Response":
        done = [entry for entry in read.Entry if (entry.Kind, entry.State) == (_KINDS[operation], "DONE")]
        if not done:
            return _CONTRADICTION
        read = done[0]
    return _cancelled(read) if operation == "clearance.cancel.v1" else _issued(read)


def _issued(read: Any) -> Reply:
    if not (read.CertificateNumber and read.IssuedOn and read.ValidUntil):
        # The service is known to put an error into Remarks and answer as if it had done the work.
        return _CONTRADICTION
    office = {"office": read.IssuingOffice.strip()} if (read.IssuingOffice or "").strip() else {}
    return Completed(
        data={
            "certificate": read.CertificateNumber,
            "issued_on": read.IssuedOn.isoformat(),
            "valid_until": read.ValidUntil.isoformat(),
            **office,
        }
    )


def _cancelled(read: Any) -> Reply:
    return Completed(data={"cancelled": True}) if read.CancelledOn else _CONTRADICTION


def _fault_reply(operation: str, answer: Answer, element: Any) -> Reply:
    """The code at the start of the faultstring decides; the HTTP status only where there is none."""
    written = _CODE.match(_text(element, "faultstring"))
    if written:
        known = {**_ALWAYS, **_MEANINGS[operation]}
        if written[1] not in known:
            raise service.fault("unknown-code", f"{written[1]} is no code of this operation.")
        seconds = _text(element, "RetryAfterSeconds")
        wait = int(seconds) if re.fullmatch("[0-9]{1,7}", seconds, re.ASCII) else answer.retry_after
        return _waiting(known[written[1]], wait, written[1])
    code = _text(element, "faultcode").strip().rpartition(":")[2].partition(".")[0]
    if code in _REFUSED_UNREAD:
        return replace(_MALFORMED, legacy_code=f"soap:{code}")
    if answer.status in _STATUSES:
        return _waiting(_STATUSES[answer.status], answer.retry_after, f"HTTP {answer.status}")
    return replace(_BROKE_DOWN, legacy_code="soap:Server")


def _waiting(reply: Reply, seconds: int | None, legacy_code: str) -> Reply:
    if not isinstance(reply, Failed):
        return reply
    wait = seconds * 1_000 if seconds and reply.retryable else None
    return replace(reply, retry_after=wait, legacy_code=legacy_code)


def _unreadable(operation: str, raw: bytes, answer: Answer | None, faults: Sequence[Fault]) -> Failed:
    """The effect is done where the damaged answer still says so; else nobody knows."""
    told = " ".join(map(str, faults))
    why = _WHY.get(faults[0].code)
    return Failed(
        code="answer_unreadable",
        effect=Effect.DONE if _shows_effect(operation, raw) else Effect.UNKNOWN,
        retryable=False,
        text=Text(
            en=f"The tax authority's answer cannot be read: {told}",
            ar=f"تعذّرت قراءة جواب مصلحة الضرائب{f': {why}' if why else ''}.",
        ),
        legacy_code=f"HTTP {answer.status}" if answer is not None else None,
    )


def _shows_effect(operation: str, raw: bytes) -> bool:
    """Whether an answer of success names our reference and, whole, what was made or cancelled."""
    try:
        answer = unpack(raw)
    except InvalidMessageError:
        return False
    ours = [reference.decode("ascii", errors="replace") for reference in _REFERENCE.findall(answer.body)]
    proved = _PROOFS[operation].search(answer.body) is not None
    return answer.status == _OK and proved and ours == [answer.reference] and b"Fault>" not in answer.body


# --- reading elements -----------------------------------------------------------------------------------------------


def _local(element: Any) -> str:
    return str(etree.QName(element).localname)


def _text(element: Any, name: str) -> str:
    """The text of the first element of this name below, in whatever namespace: "" if there is none."""
    found_ = element.find(f".//{{*}}{name}")
    return (found_.text or "") if found_ is not None else ""


def _entries(element: Any) -> list[Any]:
    return list(element.findall(f"{{{service.NAMESPACE}}}Entry"))
