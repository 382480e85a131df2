"""Values that many operations are given, each with its meaning in both languages."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from bus.message.text import Text
from bus.operations.operation import Given

_LONG_NUMBER = re.compile(r"(?:\d[\s-]*){8}")


def _without_numbers(text: str) -> str:
    """Reasons go into facts, which carry no personal data: refuse what looks like somebody's number."""
    if _LONG_NUMBER.search(text):
        raise PydanticCustomError("personal-data", "A reason is kept for ever and may hold no person's number.")
    return text


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
    Field(ge=0, le=30),
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
