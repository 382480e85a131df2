"""Values that many operations are given, each with its meaning in both languages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from bus.message.text import Text
from bus.operations.operation import Given

#: The longest that anybody may wait for an answer, in seconds.
MOST_WAIT = 30
#: One preference of RFC 7240 with a value, its value plain or quoted; parameters behind ``;`` are left alone.
_PREFERS_WAIT = re.compile(r'\s*wait\s*=\s*(?:"\s*([0-9]{1,9})\s*"|([0-9]{1,9}))\s*(?:;.*)?', re.IGNORECASE | re.DOTALL)
_LONG_NUMBER = re.compile(r"(?:\d[\s-]*){8}")


def _without_numbers(text: str | None) -> str | None:
    """Reasons go into facts, which carry no personal data: refuse what looks like somebody's number."""
    if text is not None and _LONG_NUMBER.search(text):
        raise PydanticCustomError("personal-data", "A reason is kept for ever and may hold no person's number.")
    return text


def _preferred_wait(value: Any) -> Any:
    """The seconds of ``Prefer: wait=N``, at most `MOST_WAIT`; 0 for whatever else it says.

    RFC 7240: a preference that is unknown or malformed is as if it were not there, and of two the first counts.
    """
    if not isinstance(value, str):
        return value
    found = (_PREFERS_WAIT.fullmatch(preference) for preference in value.split(","))
    waits = (int(match[1] or match[2]) for match in found if match)
    return min(next(waits, 0), MOST_WAIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """Stands in the annotation of a whole body that is no plain JSON: its media type. The body comes as `Exact`."""

    name: str
    #: The problem of whoever sends another one, in English; the catalogue of problems has it in both languages.
    code: str
    message: str
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """A body as it was sent, and what it says, its texts in Unicode normal form C."""

    raw: bytes
    value: dict[str, Any]


RequestName = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Given(place="path", summary=Text(en="Request id or tracking code.", ar="معرّف الطلب أو رمز المتابعة.")),
]
Row = Annotated[
    int,
    Field(ge=0, lt=2**63),
    Given(place="path", summary=Text(en="Key of the desk row.", ar="مفتاح المعاملة في المكتب.")),
]
FailureKey = Annotated[
    int,
    Field(ge=0, lt=2**63),
    Given(place="path", summary=Text(en="Key of the failure.", ar="مفتاح العطل.")),
]
AgencyName = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Given(place="path", summary=Text(en="Id of the agency.", ar="معرّف الجهة.")),
]
ServiceName = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Given(place="path", summary=Text(en="Name of the service, with its version.", ar="اسم الخدمة مع رقم إصدارها.")),
]
After = Annotated[
    int,
    Field(ge=0, lt=2**63),
    Given(
        place="query",
        summary=Text(en="Only what comes after this cursor.", ar="ما يأتي بعد هذا المؤشر فقط."),
    ),
]
Most = Annotated[
    int,
    Field(ge=1, le=200),
    Given(place="query", summary=Text(en="At most so many.", ar="الحد الأقصى للعدد.")),
]
Wait = Annotated[
    int,
    Field(ge=0, le=MOST_WAIT),
    Given(place="query", summary=Text(en="Wait up to so many seconds.", ar="الانتظار حتى هذا العدد من الثواني.")),
]
Reason = Annotated[
    str,
    Field(min_length=3, max_length=200),
    AfterValidator(_without_numbers),
    Given(
        place="member",
        summary=Text(
            en="Why; kept in the facts, so without names and numbers of persons.",
            ar="السبب؛ يُحفظ في سجل الطلب، فلا تُذكر فيه أسماء الأشخاص ولا أرقامهم.",
        ),
    ),
]
PreferredWait = Annotated[
    int,
    BeforeValidator(_preferred_wait),
    WithJsonSchema({"type": "string", "examples": ["wait=10"]}),
    Given(
        place="header",
        header="Prefer",
        summary=Text(
            en="wait=N: answer with the outcome if it comes within N seconds (at most 30), else with the receipt.",
            ar="wait=N: الرد بالنتيجة إذا صدرت خلال N ثانية (30 على الأكثر)، وإلا فبإيصال التقديم.",
        ),
    ),
]
OnBehalfOf = Annotated[
    str | None,
    Field(max_length=128, pattern=r"^[\x21-\x7e]+$"),
    Given(
        place="header",
        header="Bus-On-Behalf-Of",
        summary=Text(
            en="The person or body for whom it is asked; kept with the data only, found again by a keyed hash.",
            ar="من يُقدَّم الطلب نيابةً عنه؛ يُحفظ مع البيانات فقط، ويُبحث عنه ببصمته.",
        ),
    ),
]
Why = Annotated[
    str | None,
    Field(min_length=3, max_length=200),
    AfterValidator(_without_numbers),
    Given(
        place="member",
        summary=Text(
            en="Why; kept in the list of acts, so without names and numbers of persons.",
            ar="السبب؛ يُحفظ في سجل الإجراءات، فلا تُذكر فيه أسماء الأشخاص ولا أرقامهم.",
        ),
    ),
]
