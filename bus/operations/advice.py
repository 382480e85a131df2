"""What each kind of failure means and what to do about it, in both languages: for whoever is woken at 3 a.m."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bus.message.text import Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What happened, and the mend."""

    what: Text
    mend: Text


def _advice(en: str, ar: str, mend_en: str, mend_ar: str) -> Advice:
    return Advice(what=Text(en=en, ar=ar), mend=Text(en=mend_en, ar=mend_ar))


_ASK = (
    "Ask the agency what became of it, then replay (the bus looks it up first) or give up.",
    "اسألوا الجهة عمّا جرى، ثم أعيدوا المحاولة (يستعلم الناقل أولًا) أو أوقفوا الخطوة.",
)
_REPLAY = (
    "Mend the cause, then replay.",
    "أصلحوا السبب ثم أعيدوا المحاولة.",
)
_TWICE = (
    "Compare with the agency's own records before you do anything; the bus takes nothing back by itself.",
    "قارنوا بسجلات الجهة قبل أي إجراء، فالناقل لا يُلغي شيئًا من تلقاء نفسه.",
)
_SENDER = (
    "Find who sent it: versions of both sides may differ. The bytes are kept.",
    "ابحثوا عن المُرسِل، فقد يختلف الإصداران لدى الطرفين. الرسالة محفوظة كما وردت.",
)
_JOURNAL = (
    "Find out which journal is right. If the known one is lost, retire it: `bus agency retire`.",
    "تحققوا من السجل الصحيح. إن ضاع السجل المعروف فأعلنوا فقده بالأمر bus agency retire.",
)
_CLOCK = (
    "Set the clock of this machine right; deadlines wait until it is steady.",
    "اضبطوا ساعة هذا الجهاز، فالمُهل متوقفة إلى أن تستقر.",
)
_CLOCK_OF_HOST = (
    "Set the clock of its machine right, then close this. If many agencies show it at once, it may be the bus's own.",
    "اضبطوا ساعة جهازه ثم أغلقوا هذا العطل. وإن ظهر لدى جهات كثيرة معًا فقد تكون ساعة الناقل نفسه هي المختلّة.",
)
_LATE = (
    "See which step holds it up, and tell the consumer.",
    "انظروا أي خطوة تؤخّره وأبلغوا الجهة الطالبة.",
)

_ADVICE: Mapping[str, Advice] = {
    "unknown": _advice(
        "Nobody knows whether the agency's system did it.", "لا يُعلم هل نفّذ نظام الجهة المهمة أم لا.", *_ASK
    ),
    "deadline": _advice("The step's deadline passed.", "انقضت مهلة الخطوة.", *_ASK),
    "exhausted": _advice("All automatic tries failed.", "أخفقت جميع المحاولات الآلية.", *_REPLAY),
    "withdrawn": _advice("The task was withdrawn before it began.", "سُحبت المهمة قبل أن تبدأ.", *_REPLAY),
    "answer_unreadable": _advice(
        "The agency's system did it, and its answer cannot be read.",
        "نفّذ نظام الجهة المهمة، لكن جوابه غير مقروء.",
        "Mend the adapter and replay: the kept answer is read again, the system is not called.",
        "أصلحوا المُحوِّل ثم أعيدوا المحاولة: يُقرأ الجواب المحفوظ من جديد دون استدعاء النظام.",
    ),
    "input_invalid": _advice(
        "The task's data breaks the contract of the operation; nothing was sent.",
        "بيانات المهمة تخالف عقد العملية، ولم يُرسل شيء.",
        *_REPLAY,
    ),
    "provider_unknown": _advice(
        "The group has no member with the code that the data names; nobody was asked.",
        "لا يوجد في المجموعة عضو بالرمز الوارد في البيانات، ولم تُسأل أي جهة.",
        "Find out which agency was meant: add it to the group for requests to come, and give this step up.",
        "تحققوا من الجهة المقصودة: أضيفوها إلى المجموعة للطلبات القادمة، وأوقفوا هذه الخطوة.",
    ),
    "invalid_input": _advice(
        "The host refused the task's data; nothing was done.", "رفض المضيف بيانات المهمة ولم يُنفَّذ شيء.", *_REPLAY
    ),
    "prepare_failed": _advice(
        "The adapter broke while it wrote the task in the agency's form; nothing was sent.",
        "تعطّل المُحوِّل عند كتابة المهمة بصيغة الجهة، ولم يُرسل شيء.",
        "Mend the adapter, then replay.",
        "أصلحوا المُحوِّل ثم أعيدوا المحاولة.",
    ),
    "interaction_reused": _advice(
        "The same task reached the host with other data; it was not run.",
        "وصلت المهمة نفسها إلى المضيف ببيانات أخرى فلم تُنفَّذ.",
        *_ASK,
    ),
    "contradiction": _advice(
        "The agency gave two different answers to one task; the first one counts.",
        "أجابت الجهة جوابين مختلفين عن مهمة واحدة، والمعتمد هو الأول.",
        *_TWICE,
    ),
    "two_effects_possible": _advice(
        "An edited task and the one before it may both have taken effect.",
        "ربما نُفِّذت المهمة المعدّلة والمهمة السابقة لها معًا.",
        *_TWICE,
    ),
    "compensation_refused": _advice(
        "The agency refused to take its step back; the effect stands.",
        "رفضت الجهة إلغاء أثر خطوتها، والأثر قائم.",
        "Settle it with the agency by hand, then give up here; the result lists it.",
        "سوّوا الأمر مع الجهة مباشرة ثم أوقفوا الخطوة هنا، والنتيجة تذكره.",
    ),
    "early": _advice(
        "An answer came to something that this bus never sent. Was its store restored?",
        "وصل جواب عن أمر لم يرسله هذا الناقل. هل استُعيدت قاعدته من نسخة؟",
        *_SENDER,
    ),
    "orphan": _advice("An answer came for a request that nobody knows.", "وصل جواب عن طلب غير معروف.", *_SENDER),
    "undecidable": _advice(
        "The bus itself broke over this message; the message is kept and nothing was changed.",
        "تعطّل الناقل عند معالجة هذه الرسالة، وهي محفوظة ولم يتغير شيء.",
        "Report it with the log line `unexpected_error` of the same minute.",
        "أبلغوا عنه مع سطر السجل unexpected_error في الدقيقة نفسها.",
    ),
    "second_journal": _advice(
        "A host of this agency came with another journal than the one known; it gets no tasks.",
        "اتصل مضيف لهذه الجهة بسجل غير المعروف، فلا تُرسل إليه مهام.",
        *_JOURNAL,
    ),
    "retired_journal": _advice(
        "A host came with a journal that was declared lost; it gets no tasks.",
        "اتصل مضيف بسجل أُعلن فقده، فلا تُرسل إليه مهام.",
        *_JOURNAL,
    ),
    "journal_rolled_back": _advice(
        "A host's journal is older than what was heard of it: it was put back from a copy.",
        "سجل المضيف أقدم مما وصل منه: استُعيد من نسخة.",
        *_JOURNAL,
    ),
    "clock_drift": _advice("The clock of this machine jumped.", "قفزت ساعة هذا الجهاز.", *_CLOCK),
    "host_clock_fast": _advice(
        "The clock of a host of this agency is ahead of the bus's: it may refuse tasks that are in time.",
        "ساعة أحد مضيفي هذه الجهة متقدمة على ساعة الناقل، فقد يرفض مهامّ لم تنقضِ مهلتها.",
        *_CLOCK_OF_HOST,
    ),
    "host_clock_slow": _advice(
        "The clock of a host of this agency is behind the bus's: it may begin tasks whose time is over.",
        "ساعة أحد مضيفي هذه الجهة متأخرة عن ساعة الناقل، فقد يبدأ مهامّ انقضت مهلتها.",
        *_CLOCK_OF_HOST,
    ),
    "deadline_near": _advice("Most of the request's time is used.", "انقضى معظم مهلة الطلب.", *_LATE),
    "deadline_passed": _advice("The request's deadline passed; it goes on.", "انقضت مهلة الطلب وما زال جاريًا.", *_LATE),
    "host_misconfigured": _advice(
        "The settings of the agency's host do not let it begin.",
        "إعدادات مضيف الجهة لا تسمح له بالعمل.",
        "The log says what is wrong and where (`host_misconfigured`). Mend it, start the bus again, and close this.",
        "يذكر سجل التشغيل الخطأ وموضعه (host_misconfigured). أصلحوه وأعيدوا تشغيل الناقل ثم أغلقوا هذا العطل.",
    ),
    "not_offered": _advice(
        "No host of the agency offers this operation; its steps wait.",
        "لا يقدّم أي مضيف للجهة هذه العملية، وخطواتها تنتظر.",
        "Start a host whose adapter has the operation.",
        "شغّلوا مضيفًا يقدّم مُحوِّله هذه العملية.",
    ),
    "host_lacks_operation": _advice(
        "A host came without this operation, which the agency offered and open requests need; it gets no tasks.",
        "اتصل مضيف لا يقدّم هذه العملية، وكانت الجهة تقدّمها وتحتاج إليها طلبات مفتوحة، فلا تُرسل إليه مهام.",
        "Start a host that has the operation. This one is taken in once no open request needs it; then close this.",
        "شغّلوا مضيفًا يقدّم هذه العملية. ويُقبل هذا المضيف حالما لا يحتاج إليها طلب مفتوح، ثم أغلقوا هذا العطل.",
    ),
    "channel_refuses": _advice(
        "The broker refuses messages of one channel; they wait in the store.",
        "يرفض الوسيط رسائل إحدى القنوات، وهي تنتظر في القاعدة.",
        "Look at the broker; the bus sends them as soon as it takes them.",
        "افحصوا الوسيط، ويرسلها الناقل حين يقبلها.",
    ),
    "message_refused": _advice(
        "The broker takes one message of a channel in no way, mostly for its size; it waits in the store, others pass.",
        "لا يقبل الوسيط رسالة بعينها في إحدى القنوات، لكبر حجمها غالبًا، وهي تنتظر في القاعدة وغيرها ماضٍ.",
        "The log names the broker's reason (`message_refused`) and the request (`publish_refused`). Mend the broker's"
        " settings (`max_message_size`, users); the bus tries again by itself. Then close this.",
        "يذكر سجل التشغيل سبب الوسيط (message_refused) والطلب (publish_refused). أصلحوا إعدادات الوسيط"
        " (max_message_size والمستخدمين)، ويعيد الناقل المحاولة من تلقاء نفسه، ثم أغلقوا هذا العطل.",
    ),
    "webhook_failing": _advice(
        "A consumer's webhook does not take its messages; they wait in order and in its feed.",
        "لا يستقبل عنوان الإشعارات لدى الجهة الطالبة رسائلها، وهي تنتظر بالترتيب وفي سجلّ نتائجها.",
        "Tell those who run the receiver; the bus goes on trying and closes this when it works again.",
        "أبلغوا مشغّلي نظام الاستقبال، ويواصل الناقل المحاولة ويُغلق هذا العطل متى عاد يعمل.",
    ),
    "webhook_gone": _advice(
        "A consumer's webhook answered that it is gone for good (410); nothing more is sent to it.",
        "أجاب عنوان الإشعارات لدى الجهة الطالبة بأنه أُلغي نهائيًا (410)، فلا يُرسل إليه شيء بعد ذلك.",
        "Set its new address in env/<name>.yaml, or take the webhook out, and start the bus again.",
        "حدّدوا عنوانه الجديد في ملف env/<name>.yaml أو احذفوه، ثم أعيدوا تشغيل الناقل.",
    ),
    "definition_missing": _advice(
        "The store has lost the definition that this request is pinned to.",
        "فقدت القاعدة التعريف الذي ثُبّت عليه هذا الطلب.",
        "Run `bus store recount` and restore the store.",
        "نفّذوا الأمر bus store recount واستعيدوا القاعدة.",
    ),
    "no_simulator": _advice(
        "A trial reached a host without a simulator; nothing was done.",
        "وصل طلب تجريبي إلى مضيف بلا محاكٍ، ولم يُنفَّذ شيء.",
        "Start the agency's simulator, then replay, or give up.",
        "شغّلوا محاكي الجهة ثم أعيدوا المحاولة، أو أوقفوا الخطوة.",
    ),
}
_INVALID = _advice(
    "A message cannot be understood; its bytes are kept.", "رسالة غير مفهومة، وهي محفوظة كما وردت.", *_SENDER
)
_OF_THE_AGENCY = _advice(
    "The agency's system, or its adapter, failed with this code.",
    "تعطّل نظام الجهة أو مُحوِّلها بهذا الرمز.",
    "See the runbook in the README of its adapter, then replay or give up.",
    "راجعوا دليل التشغيل في ملف المُحوِّل، ثم أعيدوا المحاولة أو أوقفوا الخطوة.",
)


def advice(code: str) -> Advice:
    """What a failure of this code means and what to do; codes that an adapter made up have one text for all."""
    if code.startswith("invalid"):
        return _ADVICE.get(code, _INVALID)
    return _ADVICE.get(code, _OF_THE_AGENCY)


#: Every code that has words of its own.
CODES = frozenset(_ADVICE)
