"""Every error as an RFC 9457 problem with a stable code, in English and in Arabic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from bus.errors import BusError, Fault, InvalidMessageError, TransientError
from bus.message.instant import to_rfc3339
from bus.message.text import Text
from bus.operations.conflict import MovedError
from bus.operations.grant import NotGrantedError

CONTENT_TYPE = "application/problem+json"
_QUALITY = re.compile(r"q=([01](?:\.[0-9]{0,3})?)", re.ASCII | re.IGNORECASE)
Language: TypeAlias = Literal["en", "ar"]
#: Seconds after which a transient error is worth another try.
RETRY_AFTER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One kind of error: its HTTP status, what happened, and the mend, in both languages."""

    status: int
    title: Text
    mend: Text


def _problem(status: int, title: tuple[str, str], mend: tuple[str, str]) -> Problem:
    return Problem(status=status, title=Text(en=title[0], ar=title[1]), mend=Text(en=mend[0], ar=mend[1]))


_JSON = _problem(
    400,
    ("The body is not JSON that everybody reads alike.", "محتوى الطلب ليس بصيغة JSON سليمة."),
    ("Mend the places named in faults.", "صحّح المواضع المذكورة في faults."),
)
_LOOK_AGAIN = ("Look at it again and decide anew.", "راجع الحالة الراهنة ثم قرّر من جديد.")
_LIST_AGAIN = ("Compare the name with the list.", "قارن الاسم بالقائمة.")
_LATER = ("Try again after the time in Retry-After.", "أعد المحاولة بعد المدة المذكورة في Retry-After.")
_OPERATOR = ("Give the instance to those who run the bus.", "أبلغ مشغّلي الناقل بقيمة instance.")

PROBLEMS: Mapping[str, Problem] = {
    # --- the request cannot be understood
    **dict.fromkeys(
        (
            "not-json",
            "not-utf8",
            "byte-order-mark",
            "duplicate-key",
            "not-a-number",
            "number-too-large",
            "number-too-small",
            "bad-character",
            "too-deep",
        ),
        _JSON,
    ),
    "body-not-object": _problem(
        400,
        ("The body is not a JSON object.", "محتوى الطلب ليس كائن JSON."),
        ("Send one JSON object.", "أرسل كائن JSON واحدًا."),
    ),
    "body-unexpected": _problem(
        400,
        ("This operation takes no body.", "هذه العملية لا تقبل محتوى."),
        ("Send it without a body.", "أرسل الطلب من دون محتوى."),
    ),
    "too-large": _problem(
        413,
        ("The body is over 256 KiB.", "محتوى الطلب أكبر من 256 كيلوبايت."),
        ("Send documents apart and refer to them.", "أرسل المستندات منفصلة وأشر إليها."),
    ),
    "media-type": _problem(
        415,
        ("The body is not declared as JSON.", "نوع المحتوى المعلن ليس JSON."),
        ("Send Content-Type: application/json.", "أرسل الترويسة Content-Type: application/json."),
    ),
    "event-mode": _problem(
        415,
        ("The event is not sent in structured mode.", "لم يُرسل الحدث بالصيغة المهيكلة (structured mode)."),
        (
            "Put the attributes and the data into one JSON object and send Content-Type: application/cloudevents+json.",
            "ضع السمات والبيانات في كائن JSON واحد وأرسل الترويسة Content-Type: application/cloudevents+json.",
        ),
    ),
    "charset": _problem(
        415,
        ("The body is declared in another character set than UTF-8.", "المحتوى معلن بترميز غير UTF-8."),
        ("Send it as UTF-8.", "أرسله بترميز UTF-8."),
    ),
    "key-needed": _problem(
        400,
        ("The header Idempotency-Key is missing.", "الترويسة Idempotency-Key مفقودة."),
        (
            "Send a key of your own for each submission, and the same one when you repeat it.",
            "أرسل مفتاحًا خاصًا بكل تقديم، والمفتاح نفسه عند إعادة الإرسال.",
        ),
    ),
    "purpose-needed": _problem(
        400,
        ("The purpose is missing.", "غرض الطلب مفقود."),
        ("Name a granted purpose in Bus-Purpose.", "اذكر غرضًا مسموحًا به في الترويسة Bus-Purpose."),
    ),
    "step-needed": _problem(
        400,
        ("Several steps wait; name one.", "أكثر من خطوة بانتظارك؛ حدّد واحدة."),
        ("Name the step in step.", "اذكر الخطوة في الحقل step."),
    ),
    "bad-request": _problem(
        400,
        ("The request cannot be understood.", "تعذّر فهم الطلب."),
        ("Compare it with /v1/openapi.json.", "قارنه بالوصف في ‎/v1/openapi.json."),
    ),
    "input": _problem(
        422,
        ("Some values are missing or wrong.", "بعض القيم ناقصة أو خاطئة."),
        ("Mend the places named in faults.", "صحّح المواضع المذكورة في faults."),
    ),
    **dict.fromkeys(
        ("event", "envelope"),
        _problem(
            422,
            ("The event is not one that submits a request.", "الحدث المرسل لا يصلح لتقديم طلب."),
            ("Mend the attributes named in faults.", "صحّح السمات المذكورة في faults."),
        ),
    ),
    "contract": _problem(
        422,
        ("The data does not obey its contract.", "البيانات لا توافق الصيغة المعتمدة."),
        ("Mend the places named in faults.", "صحّح المواضع المذكورة في faults."),
    ),
    "provider-unknown": _problem(
        422,
        ("The request names an agency that the service does not know.", "يشير الطلب إلى جهة لا تعرفها الخدمة."),
        (
            "Use a code of the group, at the place named in faults.",
            "استعمل أحد رموز المجموعة في الموضع المذكور في faults.",
        ),
    ),
    **dict.fromkeys(
        ("not-asked", "no-such-place"),
        _problem(
            422,
            ("The supplement sets something that was not asked for.", "الاستكمال يتضمن ما لم يُطلب."),
            ("Send only what was asked for.", "أرسل المطلوب فقط."),
        ),
    ),
    "pointer-unknown": _problem(
        422,
        ("The task has no field of this name.", "لا يوجد في المعاملة حقل بهذا الاسم."),
        ("Ask for a field of the task.", "اطلب حقلًا من حقول المعاملة."),
    ),
    "duration": _problem(
        422,
        ("This is not a length of time.", "هذه ليست مدة زمنية صحيحة."),
        ("Write a whole number and a unit: 10d, 12h.", "اكتب عددًا صحيحًا ووحدة: 10d أو 12h."),
    ),
    "hidden-character": _problem(
        422,
        ("A text holds signs that nobody can see.", "في النص محارف خفية لا تُرى."),
        ("Write the fields named in faults anew.", "اكتب من جديد الحقول المذكورة في faults."),
    ),
    "invalid-message": _problem(
        422,
        ("The content cannot be understood.", "تعذّر فهم المحتوى."),
        ("Mend the places named in faults.", "صحّح المواضع المذكورة في faults."),
    ),
    # --- who asks
    "token-missing": _problem(
        401,
        ("No token was sent.", "لم يُرسل رمز الدخول."),
        ("Send Authorization: Bearer and a token.", "أرسل الترويسة Authorization: Bearer مع الرمز."),
    ),
    "token-unknown": _problem(
        401,
        ("The token is not valid.", "رمز الدخول غير صالح."),
        ("Ask an administrator for a new token.", "اطلب رمزًا جديدًا من المسؤول."),
    ),
    "forbidden": _problem(
        403,
        ("You may not do this.", "غير مسموح لك بهذا الإجراء."),
        ("Ask an administrator.", "راجع المسؤول."),
    ),
    "role-not-allowed": _problem(
        403,
        ("Your role may not do this.", "دورك لا يسمح بهذا الإجراء."),
        ("Use a token of the right role.", "استعمل رمز دخول بالدور المناسب."),
    ),
    "agency-needed": _problem(
        403,
        ("It is not said for which agency this is done.", "لم تُذكر الجهة التي يُنفّذ الإجراء باسمها."),
        ("Name the agency in Bus-Agency.", "اذكر الجهة في الترويسة Bus-Agency."),
    ),
    "agency-not-yours": _problem(
        403,
        ("Only an administrator may act for another agency.", "للمسؤول وحده أن يعمل باسم جهة أخرى."),
        ("Leave out the header Bus-Agency.", "احذف الترويسة Bus-Agency."),
    ),
    "service-not-granted": _problem(
        403,
        ("You may not ask for this service.", "الخدمة غير متاحة لجهتك."),
        ("Ask those named in granted_by for a grant.", "اطلب الإذن من الجهة المذكورة في granted_by."),
    ),
    "purpose-not-granted": _problem(
        403,
        ("You may not ask for this purpose.", "هذا الغرض غير مسموح به لجهتك."),
        (
            "Name a granted purpose, or ask those named in granted_by for a grant.",
            "اذكر غرضًا مسموحًا به، أو اطلب الإذن من الجهة المذكورة في granted_by.",
        ),
    ),
    # --- there is no such thing
    "not-found": _problem(404, ("There is no such thing.", "غير موجود."), _LIST_AGAIN),
    "route-unknown": _problem(
        404,
        ("There is no such address.", "لا يوجد عنوان كهذا."),
        ("The addresses are in /v1/openapi.json.", "العناوين موصوفة في ‎/v1/openapi.json."),
    ),
    "request-unknown": _problem(
        404,
        ("There is no such request among yours.", "لا يوجد طلب كهذا ضمن طلباتك."),
        ("Compare the id or the code with the receipt.", "قارن المعرّف أو الرمز بإيصال التقديم."),
    ),
    "service-unknown": _problem(404, ("There is no such service.", "لا توجد خدمة بهذا الاسم."), _LIST_AGAIN),
    "agency-unknown": _problem(404, ("There is no such agency.", "لا توجد جهة بهذا الاسم."), _LIST_AGAIN),
    "row-unknown": _problem(404, ("There is no such task on your desk.", "لا توجد معاملة كهذه في مكتبك."), _LIST_AGAIN),
    "failure-unknown": _problem(404, ("There is no such failure.", "لا يوجد عطل كهذا."), _LIST_AGAIN),
    "too-slow": _problem(
        408,
        ("The request did not come in time.", "لم يصل الطلب كاملًا ضمن المهلة."),
        ("Send it whole, at once.", "أرسل الطلب كاملًا دفعة واحدة."),
    ),
    "method-not-allowed": _problem(
        405,
        ("This address does not take this method.", "هذا العنوان لا يقبل هذه الطريقة."),
        ("Use a method named in Allow.", "استعمل طريقة مذكورة في Allow."),
    ),
    # --- somebody was first
    "conflict": _problem(409, ("Somebody was first.", "سبقك غيرك إلى هذا الإجراء."), _LOOK_AGAIN),
    "key-reused": _problem(
        409,
        ("The key was used for another submission.", "استُعمل المفتاح لتقديم آخر."),
        ("Use a new key for a new request.", "استعمل مفتاحًا جديدًا للطلب الجديد."),
    ),
    "step-state": _problem(
        409, ("The step is not in a state that allows this.", "حالة الخطوة لا تسمح بهذا الإجراء."), _LOOK_AGAIN
    ),
    "request-state": _problem(
        409, ("The request is not in a state that allows this.", "حالة الطلب لا تسمح بهذا الإجراء."), _LOOK_AGAIN
    ),
    "final-dispatched": _problem(
        409,
        ("The final step was sent; it is too late to cancel.", "أُرسلت الخطوة الأخيرة؛ فات وقت الإلغاء."),
        ("Wait for the end of the request.", "انتظر انتهاء الطلب."),
    ),
    "no-such-step": _problem(409, ("The request has no such step.", "لا توجد في الطلب خطوة كهذه."), _LOOK_AGAIN),
    "not-optional": _problem(409, ("The step is not optional.", "الخطوة ليست اختيارية."), _LOOK_AGAIN),
    "effect": _problem(409, ("The step may have had its effect.", "ربما نُفّذت الخطوة فعلًا."), _LOOK_AGAIN),
    "nothing-asked": _problem(409, ("Nothing is asked of the applicant.", "لا شيء مطلوب من مقدّم الطلب."), _LOOK_AGAIN),
    "row-taken": _problem(
        409, ("Another clerk has this task, or it is over.", "المعاملة لدى موظف آخر أو انتهت."), _LOOK_AGAIN
    ),
    "failure-closed": _problem(409, ("The failure is closed.", "العطل مغلق."), _LOOK_AGAIN),
    "failure-holds-a-step": _problem(
        409,
        ("A step waits for the end of this failure.", "تنتظر خطوة انتهاء هذا العطل."),
        ("Replay it or give it up.", "أعد محاولتها أو أنهِها."),
    ),
    "failure-without-step": _problem(
        409,
        ("The failure belongs to no step.", "العطل لا يخص خطوة معيّنة."),
        ("Mend its cause.", "عالج سببه."),
    ),
    "journal-unknown": _problem(
        409,
        ("The agency's known journal is another one.", "السجل المعروف للجهة سجل آخر."),
        ("Give the journal that `bus agency list` shows.", "اذكر السجل الذي يعرضه الأمر bus agency list."),
    ),
    "agency-busy": _problem(409, ("The agency's row keeps changing.", "بيانات الجهة تتغيّر الآن."), _LOOK_AGAIN),
    # --- not now
    **dict.fromkeys(
        ("transient", "store-unavailable", "broker-unavailable", "agency-unavailable", "stale-version"),
        _problem(503, ("The bus cannot do this now.", "تعذّر على الناقل تنفيذ هذا الآن."), _LATER),
    ),
    "reconciling": _problem(
        503,
        ("The bus was restored and asks the agencies first.", "استُعيد الناقل من نسخة احتياطية ويسأل الجهات أولًا."),
        _LATER,
    ),
    "outbox-full": _problem(503, ("Too much waits for the broker.", "ينتظر الإرسالَ عددٌ كبير من الرسائل."), _LATER),
    "channel-full": _problem(
        503,
        (
            "Too much waits for an agency that this request would ask.",
            "ينتظر الإرسالَ إلى جهة يعنيها هذا الطلب عددٌ كبير.",
        ),
        _LATER,
    ),
    "busy": _problem(503, ("The bus has too much to do.", "الناقل مشغول جدًا الآن."), _LATER),
    # --- our own fault
    **dict.fromkeys(
        ("internal", "error", "permanent", "payload-missing", "definition-unknown", "undecidable"),
        _problem(500, ("Something is wrong with the bus.", "حدث خلل في الناقل."), _OPERATOR),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A problem as it goes over the wire."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def problem_of(error: BusError, lang: Language = "en") -> Answer:
    """The problem that an error of the bus is; what is not meant for the asker is left out.

    ``lang`` is that of ``title``, ``detail`` and ``mend``; both languages stand in ``i18n`` in any case.
    """
    code = _known(error)
    problem = PROBLEMS[code]
    own_fault = problem.status >= 500 and not isinstance(error, TransientError)
    body = answer_of(code, detail="" if own_fault else _detail(error), mend="" if own_fault else error.mend, lang=lang)
    if isinstance(error, InvalidMessageError):
        body["faults"] = [_fault(fault) for fault in error.faults]
    if isinstance(error, MovedError):
        body["state"] = error.state
        body["changed_by"] = error.changed_by
        body["changed_at"] = None if error.changed_at is None else to_rfc3339(error.changed_at)
    if isinstance(error, NotGrantedError):
        body["granted_by"] = error.granted_by
    return Answer(status=problem.status, body=body, headers=_headers(problem.status) | {"Content-Language": lang})


def answer_of(code: str, *, detail: str = "", mend: str = "", lang: Language = "en") -> dict[str, Any]:
    """The members of a problem; ``mend`` where there is a more exact one than the code's own.

    What is said exactly is said in English; an Arabic reader gets the code's own words first, and the exact ones after.
    """
    problem = PROBLEMS[code]
    title = problem.title.ar if lang == "ar" else problem.title.en
    exact = [text for text in (detail, mend) if text]
    return {
        "type": f"urn:bus:problem:{code}",
        "title": title,
        "status": problem.status,
        "detail": " ".join((title, *exact)) if lang == "ar" else detail or title,
        "instance": uuid4().urn,
        "code": code,
        "mend": problem.mend.ar if lang == "ar" else mend or problem.mend.en,
        "i18n": {
            "en": {"title": problem.title.en, "mend": problem.mend.en},
            "ar": {"title": problem.title.ar, "mend": problem.mend.ar},
        },
    }


def language_of(accepted: str) -> Language:
    """The language that a header ``Accept-Language`` wants most of the two there are; English where it wants neither.

    The greatest quality counts, of equal ones the first; ``ar-EG`` is Arabic.
    """
    wanted: dict[Language, float] = {}
    for part in accepted.split(","):
        name, _, parameter = part.partition(";")
        found = _QUALITY.fullmatch(parameter.strip())
        primary = name.strip().partition("-")[0].lower()
        lang: Language | None = "ar" if primary == "ar" else "en" if primary == "en" else None
        if lang is not None and (found or not parameter.strip()):
            wanted.setdefault(lang, float(found[1]) if found else 1.0)
    return max(wanted, key=lambda lang: wanted[lang]) if any(wanted.values()) else "en"


def _known(error: BusError) -> str:
    """The error's own code, or that of the nearest class above it that the catalogue knows."""
    codes = (error.code, *(getattr(kind, "code", "") for kind in type(error).__mro__))
    return next(code for code in (*codes, "internal") if code in PROBLEMS)


def _detail(error: BusError) -> str:
    if isinstance(error, InvalidMessageError):
        return error.faults[0].message if len(error.faults) == 1 else f"{len(error.faults)} faults, see faults."
    return str(error)


def _fault(fault: Fault) -> dict[str, str]:
    return {"code": fault.code, "pointer": fault.pointer, "message": fault.message, "mend": fault.mend}


def _headers(status: int) -> dict[str, str]:
    if status == 503:
        return {"Retry-After": str(RETRY_AFTER)}
    return {"WWW-Authenticate": "Bearer"} if status == 401 else {}
