"""Pure: tasks to rows of CRIFIN, and rows of CRIFOUT to replies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bus.adapter import Completed, Effect, Failed, Need, Refused, Reply, Returned, Task, Text, Unknown
from bus.record import CP1256, Chars, Codes, DateNumber, Fault, InvalidMessageError, Layout, Whole, unpack_row

#: Our operation and the vendor's transaction.
TRANSACTIONS = {"name.reserve.v1": "NRES", "name.release.v1": "NREL", "company.register.v1": "CREG"}

_REFERENCE = Chars(20)
CRIFIN = Layout(
    table="CRIFIN",
    fields={
        "ITXN": Chars(4),
        "IREF": _REFERENCE,
        "INAME": Chars(60, CP1256),
        "INUM": Chars(10),
        "IOWN": Chars(14),
        "IKIND": Codes(1, {"": "", "1": "sole", "2": "partners"}),
    },
)
CRIFOUT = Layout(
    table="CRIFOUT",
    fields={
        "OSEQ": Whole(),
        "OTXN": Codes(4, {transaction: operation for operation, transaction in TRANSACTIONS.items()}),
        "OREF": _REFERENCE,
        "ORC": Chars(2),
        "ONUM": Chars(10),
        "ODATE": DateNumber(),
        "ONAME": Chars(60, CP1256),
        "OMSG": Chars(40, CP1256),
        "OWAIT": Whole(most=366 * 86_400),
    },
)
#: An OMSG without text.
NO_MESSAGE = b" " * 40
#: Where in a task's data each column comes from.
_POINTERS = {"INAME": "/name", "INUM": "/reservation", "IOWN": "/owner_id", "IKIND": "/kind"}

#: The one value that a person words freely; all others are numbers and words that the contracts describe.
_BY_APPLICANT = "/name"

_DONE = "00"
#: A reply is no place for a longer list.
_MOST_FAULTS = 9
#: What was made or released; a success that names none is none.
_NUMBERS = {
    "name.reserve.v1": re.compile("[0-9]{7}"),
    "name.release.v1": re.compile("[0-9]{7}"),
    "company.register.v1": re.compile("[0-9]{8}"),
}

_NOT_FOUND = Refused(
    reason_code="reservation_not_found",
    text=Text(en="The registry has no reservation with this number.", ar="لا يوجد في السجل حجز بهذا الرقم."),
)
_IN_USE = Refused(
    reason_code="reservation_used",
    text=Text(en="A company is already registered under this reservation.", ar="قُيّدت منشأة بهذا الحجز من قبل."),
)
_CANNOT_STORE = Text(
    en="The registry cannot store this name: use Arabic or Latin letters and the digits 0 to 9, at most 60 signs.",
    ar="لا يستطيع السجل حفظ هذا الاسم: استخدموا حروفًا عربية أو لاتينية والأرقام من 0 إلى 9، وبما لا يزيد على 60 حرفًا.",
)
_CLOSED = Text(en="The registry is closed at this hour.", ar="السجل التجاري خارج أوقات الدوام.")
_STOPPING = Text(en="The registry's system is being stopped.", ar="نظام السجل التجاري قيد الإيقاف.")
_MALFORMED = Text(
    en="The registry did not accept the form of the order.", ar="لم يقبل السجل التجاري صيغة الطلب المرسل."
)
_CONTRADICTION = Text(
    en="The registry reports success without saying what it made.", ar="أفاد السجل بنجاح العملية دون أن يذكر نتيجتها."
)
#: What the vendor's return codes mean, where the meaning does not depend on the row.
_MEANINGS: Mapping[str, Mapping[str, Reply]] = {
    "name.reserve.v1": {
        "11": Refused(
            reason_code="name_taken",
            text=Text(en="Somebody else has this trade name.", ar="هذا الاسم التجاري محجوز لغيركم."),
        ),
        "12": Refused(
            reason_code="name_not_allowed",
            text=Text(en="The law does not allow this trade name.", ar="لا يسمح القانون بهذا الاسم التجاري."),
        ),
        "21": Returned(
            needs=(
                Need(
                    pointer="/name",
                    reason_code="legal_form_missing",
                    text=Text(
                        en="Add the legal form to the trade name.", ar="أضيفوا الشكل القانوني إلى الاسم التجاري."
                    ),
                ),
            )
        ),
    },
    "name.release.v1": {"13": _NOT_FOUND, "15": _IN_USE},
    "company.register.v1": {
        "13": _NOT_FOUND,
        "14": Refused(
            reason_code="reservation_expired",
            text=Text(en="The reservation of the trade name has run out.", ar="انتهت مدة حجز الاسم التجاري."),
        ),
        "15": _IN_USE,
        "16": Refused(
            reason_code="reservation_released",
            text=Text(en="The reservation of the trade name was given up.", ar="أُلغي حجز الاسم التجاري."),
        ),
        "17": Refused(
            reason_code="owner_barred",
            text=Text(en="The law bars the owner from trade.", ar="المالك ممنوع قانونًا من مزاولة التجارة."),
        ),
        "22": Returned(
            needs=(
                Need(
                    pointer="/owner_id",
                    reason_code="owner_card_expired",
                    text=Text(
                        en="The owner's identity card has expired: renew it and give its number.",
                        ar="انتهت صلاحية بطاقة هوية المالك: جدّدوها ثم اكتبوا رقمها.",
                    ),
                ),
            )
        ),
    },
}


def padded_reference(reference: str) -> str:
    """The reference as it stands in the vendor's columns."""
    return _REFERENCE.write(reference).decode("ascii")


def orders(operation: str, tasks: Sequence[Task]) -> tuple[bytes | Returned, ...]:
    """The CRIFIN row of each task; one whose name the registry cannot store goes back to the applicant.

    An InvalidMessageError names whatever else has no place in the row: the applicant did not write it.
    """
    return tuple(_row_or_return(operation, task) for task in tasks)


def _row_or_return(operation: str, task: Task) -> bytes | Returned:
    try:
        return CRIFIN.write(_order(operation, task), _POINTERS)
    except InvalidMessageError as error:
        if {fault.pointer for fault in error.faults} != {_BY_APPLICANT}:
            raise
        return Returned(needs=(Need(pointer=_BY_APPLICANT, reason_code="cannot_be_stored", text=_CANNOT_STORE),))


def replies(operation: str, raw: Sequence[bytes]) -> tuple[Reply, ...]:
    """What each CRIFOUT row means; a row that cannot be read is a `Failed` of its own and spoils no other.

    ``b""`` stands for an answer that never came.
    """
    return tuple(_reply(operation, row) if row else Unknown() for row in raw)


def _order(operation: str, task: Task) -> dict[str, str]:
    data = task.data
    return {
        "ITXN": TRANSACTIONS[operation],
        "IREF": task.reference,
        # Blanks around a name are no part of it, and the vendor's padding could not be told from them.
        "INAME": data.get("name", "").strip(" "),
        "INUM": data.get("reservation", ""),
        "IOWN": data.get("owner_id", ""),
        "IKIND": data.get("kind", ""),
    }


def _reply(operation: str, raw: bytes) -> Reply:
    try:
        row = CRIFOUT.read(raw)
        if row["OTXN"] != operation:
            raise _fault("/OTXN", "wrong-transaction", f"an answer to {row['OTXN']}, which was not asked.")
        if row["ORC"] == _DONE:
            return _success(operation, row)
        return _meaning(operation, row)
    except InvalidMessageError as error:
        return _unreadable(raw, error.faults)


def _success(operation: str, row: Mapping[str, Any]) -> Reply:
    number, day = row["ONUM"], row["ODATE"]
    if not _NUMBERS[operation].fullmatch(number) or (operation == "company.register.v1" and day is None):
        # The vendor is known to put an error into OMSG and the code for success beside it.
        return _failed("answer_contradictory", Effect.UNKNOWN, _CONTRADICTION, row)
    if operation == "name.release.v1":
        return Completed(data={"released": True})
    if operation == "company.register.v1":
        return Completed(data={"company_number": number, "registered_on": day.isoformat()})
    expiry = {} if day is None else {"valid_until": day.isoformat()}
    return Completed(data={"reservation": number, **expiry})


def _meaning(operation: str, row: Mapping[str, Any]) -> Reply:
    code = row["ORC"]
    match code:
        case "16" if operation == "name.release.v1":
            # Numbers are never given twice: what was to be released is released, whoever did it.
            return Completed(data={"released": True})
        case "80":
            wait = row["OWAIT"] * 1_000 or None
            return Failed(
                code="agency_closed",
                effect=Effect.NONE,
                retryable=True,
                text=_CLOSED,
                retry_after=wait,
                legacy_code=code,
            )
        case "90":
            return _failed("agency_stopping", Effect.NONE, _STOPPING, row, retryable=True)
        case "98":
            return _failed("order_malformed", Effect.NONE, _MALFORMED, row)
    if code not in _MEANINGS[operation]:
        raise _fault("/ORC", "unknown-return-code", f"{code!r} is no return code of this transaction.")
    return _MEANINGS[operation][code]


def _failed(code: str, effect: Effect, text: Text, row: Mapping[str, Any], *, retryable: bool = False) -> Failed:
    return Failed(code=code, effect=effect, retryable=retryable, text=text, legacy_code=row["ORC"])


def _fault(pointer: str, code: str, message: str) -> InvalidMessageError:
    return InvalidMessageError((Fault(code=code, message=message, pointer=pointer),))


def _unreadable(raw: bytes, faults: Sequence[Fault]) -> Failed:
    """The effect is done where the damaged row still says so; else nobody knows."""
    code = _return_code(raw)
    faults = faults[:_MOST_FAULTS]
    columns = "، ".join(fault.pointer.removeprefix("/") for fault in faults if fault.pointer)
    return Failed(
        code="answer_unreadable",
        effect=Effect.DONE if code == _DONE else Effect.UNKNOWN,
        retryable=False,
        text=Text(
            en=f"The registry's answer cannot be read. {' '.join(map(str, faults))}",
            ar=f"تعذّرت قراءة جواب السجل التجاري{f' (الأعمدة: {columns})' if columns else ''}.",
        ),
        legacy_code=code,
    )


def _return_code(raw: bytes) -> str | None:
    try:
        cell = unpack_row(raw).cells.get("ORC")
    except InvalidMessageError:
        return None
    return cell.decode("ascii") if isinstance(cell, bytes) and re.fullmatch(rb"[0-9]{2}", cell) else None
