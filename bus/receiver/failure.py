"""The failures that a host itself answers, with their effect and their text."""

from __future__ import annotations

from bus.message.reply import Effect, Failed
from bus.message.text import Text

#: code -> (whether the same task may help later, text).
_FAILURES: dict[str, tuple[bool, Text]] = {
    "withdrawn": (
        False,
        Text(en="The task was withdrawn before it began.", ar="سُحبت المهمة قبل أن تبدأ."),
    ),
    "never_seen": (
        True,
        Text(en="The task never arrived; nothing was done.", ar="لم تصل المهمة قط، ولم يُنفَّذ شيء."),
    ),
    "absent": (
        True,
        Text(en="The agency's system holds no trace of it.", ar="لا أثر لها في نظام الجهة."),
    ),
    "superseded_too_late": (
        False,
        Text(
            en="The earlier task may already have taken effect; the edited one was not run.",
            ar="ربما نُفِّذت المهمة السابقة بالفعل، فلم تُنفَّذ المهمة المعدّلة.",
        ),
    ),
    "interaction_reused": (
        False,
        Text(en="The same task came with other data; it was not run.", ar="وردت المهمة نفسها ببيانات أخرى فلم تُنفَّذ."),
    ),
    "too_late": (
        False,
        Text(en="There was too little time left to begin.", ar="لم يبقَ وقت كافٍ للبدء."),
    ),
    "no_simulator": (
        False,
        Text(en="A test cannot run here: there is no simulator.", ar="لا يمكن إجراء الاختبار هنا لعدم وجود محاكٍ."),
    ),
    "no_system": (
        False,
        Text(en="This host has no connection to the agency's system.", ar="لا يتصل هذا المضيف بنظام الجهة."),
    ),
    "no_operation": (
        False,
        Text(en="The agency does not offer this operation.", ar="لا تقدّم الجهة هذه العملية."),
    ),
    "invalid_input": (
        False,
        Text(en="The task's data breaks the contract of the operation.", ar="بيانات المهمة تخالف عقد العملية."),
    ),
    "prepare_failed": (
        False,
        Text(
            en="The task could not be put into the form of the agency's system.",
            ar="تعذّر تحويل المهمة إلى صيغة نظام الجهة.",
        ),
    ),
    "unavailable": (
        True,
        Text(en="The agency's system cannot be reached.", ar="لا يمكن الوصول إلى نظام الجهة."),
    ),
    "not_begun": (
        True,
        Text(en="The host was held up and did not begin the call.", ar="تأخّر المضيف فلم يبدأ الاتصال."),
    ),
    "call_failed": (
        True,
        Text(en="The agency's system gave no usable answer.", ar="لم يُعطِ نظام الجهة جوابًا صالحًا."),
    ),
    "answer_unreadable": (
        False,
        Text(
            en="The agency's system did it, but its answer cannot be read.",
            ar="نفّذ نظام الجهة المهمة، لكن جوابه لا يمكن قراءته.",
        ),
    ),
}

CODES = frozenset(_FAILURES)


def failed(code: str, effect: Effect = Effect.NONE) -> Failed:
    """The failure of that code; without an effect unless another is stated."""
    retryable, text = _FAILURES[code]
    return Failed(code=code, effect=effect, retryable=retryable, text=text)
