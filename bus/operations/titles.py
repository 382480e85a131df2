"""The states of requests and steps in words for people, in both languages."""

from __future__ import annotations

from collections.abc import Mapping

from bus.message.text import Text
from bus.process.state import RequestState, StepState

REQUEST_TITLES: Mapping[RequestState, Text] = {
    RequestState.OPEN: Text(en="In progress", ar="قيد التنفيذ"),
    RequestState.CLOSING: Text(en="Being closed", ar="قيد الإغلاق"),
    RequestState.COMPLETED: Text(en="Completed", ar="مكتمل"),
    RequestState.PARTIALLY_FULFILLED: Text(en="Fulfilled in part", ar="مُنجز جزئيًا"),
    RequestState.REJECTED: Text(en="Rejected", ar="مرفوض"),
    RequestState.FAILED: Text(en="Failed", ar="تعذّر التنفيذ"),
    RequestState.CANCELLED: Text(en="Cancelled", ar="ملغى"),
    RequestState.EXPIRED: Text(en="Expired", ar="انتهت مدته"),
}

STEP_TITLES: Mapping[StepState, Text] = {
    StepState.WAITING: Text(en="Waiting for other steps", ar="بانتظار خطوات أخرى"),
    StepState.READY: Text(en="Ready to be sent", ar="جاهزة للإرسال"),
    StepState.DISPATCHED: Text(en="Sent to the agency", ar="أُرسلت إلى الجهة"),
    StepState.RETURNED: Text(en="Waiting for the applicant", ar="بانتظار مقدّم الطلب"),
    StepState.PENDING: Text(en="With the agency; its answer is awaited", ar="لدى الجهة وجوابها منتظر"),
    StepState.RETRYING: Text(en="Will be tried again", ar="ستُعاد المحاولة"),
    StepState.UNKNOWN: Text(en="Not known whether it was done", ar="لا يُعلم هل نُفّذت"),
    StepState.PARKED: Text(en="Waiting for an operator", ar="بانتظار المشغّل"),
    StepState.SUCCEEDED: Text(en="Done", ar="أُنجزت"),
    StepState.REFUSED: Text(en="Refused by the agency", ar="رفضتها الجهة"),
    StepState.SKIPPED: Text(en="Not needed", ar="غير لازمة"),
    StepState.FAILED: Text(en="Given up", ar="أُوقفت المحاولة"),
    StepState.EXPIRED: Text(en="Out of time", ar="انقضت مدتها"),
    StepState.CANCELLED: Text(en="Cancelled", ar="أُلغيت"),
}

_UNDER_WAY = Text(en="With the agency", ar="لدى الجهة")
#: For a consumer: the step was done, and its compensation undid it.
TAKEN_BACK = ("taken_back", Text(en="Done, then taken back", ar="أُنجزت ثم أُلغي أثرها"))
#: What a consumer sees of a step: how the bus is getting on with an agency is not its business.
PUBLIC_STATES: Mapping[StepState, tuple[str, Text]] = {
    StepState.WAITING: ("waiting", STEP_TITLES[StepState.WAITING]),
    StepState.READY: ("in_progress", _UNDER_WAY),
    StepState.DISPATCHED: ("in_progress", _UNDER_WAY),
    StepState.PENDING: ("in_progress", _UNDER_WAY),
    StepState.RETRYING: ("in_progress", _UNDER_WAY),
    StepState.UNKNOWN: ("in_progress", _UNDER_WAY),
    StepState.PARKED: ("in_progress", _UNDER_WAY),
    StepState.RETURNED: ("returned", STEP_TITLES[StepState.RETURNED]),
    StepState.SUCCEEDED: ("done", STEP_TITLES[StepState.SUCCEEDED]),
    StepState.REFUSED: ("refused", STEP_TITLES[StepState.REFUSED]),
    StepState.SKIPPED: ("skipped", STEP_TITLES[StepState.SKIPPED]),
    StepState.FAILED: ("not_done", Text(en="Not done", ar="لم تُنجز")),
    StepState.EXPIRED: ("not_done", Text(en="Not done", ar="لم تُنجز")),
    StepState.CANCELLED: ("not_done", Text(en="Not done", ar="لم تُنجز")),
}
