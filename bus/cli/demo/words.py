"""How a fact is told to people, in both languages; the names of steps and agencies come from the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bus.audit.fact import Fact
from bus.cli.demo.layout import Tone
from bus.message.text import Text
from bus.operations.titles import REQUEST_TITLES
from bus.process.state import Kind, RequestState

#: Facts that say nothing which the next one does not say as well; the receipt tells of the first.
QUIET = frozenset({"accepted", "step_ready", "step_dispatched", "rows_known", "compensation_wanted", "replay_asked"})
#: Reasons for which the agency's system could not be reached at all.
_AWAY = frozenset({"unavailable"})
_MILLISECONDS = 1000

REQUEST = Text(en="Request", ar="الطلب")
CLERK = Text(en="Clerk", ar="الموظف")
APPLICANT = Text(en="Applicant", ar="مقدم الطلب")
OPERATOR = Text(en="Operator", ar="المشغّل")
#: Its values follow, in no language: no Arabic stands beside them.
RESULT = Text(en="Result", ar="")

LIVE = Text(en="Live from the store; times in seconds", ar="مباشرة من سجل الناقل، والزمن بالثواني")
ACCEPTED = Text(en="accepted; tracking {tracking}", ar="قُبل وصدر إيصاله")
BRINGS = Text(en="brings what was missing", ar="يُحضر الناقص")
READS = Text(en="reads what is wrong:", ar="يقرأ بيان العطل")
RESTARTED = Text(en="starts the host anew", ar="يعيد تشغيل المضيف")
REPLAYS = Text(en="replays: kept answer is read", ar="يقرأ الجواب المحفوظ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a fact says; ``{agency}``, ``{reason}`` and ``{wait}`` stand for what it names."""

    text: Text
    tone: Tone = "plain"


def _told(en: str, ar: str, tone: Tone = "plain") -> Told:
    return Told(text=Text(en=en, ar=ar), tone=tone)


_WORDS: Mapping[str, Told] = {
    "step_retrying": _told("not now ({reason}); next try in {wait} s", "تُعاد المحاولة", "doubt"),
    "step_pending": _told("{agency} will answer later", "الجواب لاحقًا", "doubt"),
    "step_held": _told("kept back: {reason}", "قيد الانتظار", "doubt"),
    "step_unknown": _told("no answer: done or not?", "لا يُعلم هل تم", "doubt"),
    "queried": _told("asked what became of it", "استعلام من الجهة"),
    "look_up_answered": _told("asked; still nobody knows", "لا يُعلم بعد", "doubt"),
    "resent": _told("no reply; same bytes again", "يُعاد الإرسال", "doubt"),
    "caught_up": _told("its host knew of a later try", "الجهة على علم بمحاولة أحدث"),
    "poisoned": _told("broke its host again and again", "تعطّل مضيف الجهة مرارًا", "bad"),
    "step_returned": _told("back to the applicant", "إعادة إلى مقدم الطلب", "doubt"),
    "step_succeeded": _told("done", "تم", "good"),
    "step_refused": _told("refused: {reason}", "تم الرفض", "bad"),
    "step_skipped": _told("not needed", "انتفت الحاجة", "quiet"),
    "step_cancelled": _told("will not be done", "دون تنفيذ", "quiet"),
    "step_parked": _told("waits for an operator", "بانتظار المشغّل", "bad"),
    "step_failed": _told("given up: {reason}", "تعذّر التنفيذ", "bad"),
    "step_expired": _told("out of time", "انقضت المهلة", "bad"),
    "closing": _told("what was done is taken back", "يُلغى ما تم", "doubt"),
    "late": _told("an answer came late", "وصل جواب متأخر"),
    "evidence": _told("one more answer is kept", "حُفظ جواب آخر"),
    "early": _told("an answer to nothing that was sent", "جواب بلا سؤال", "bad"),
    "effect_known": _told("its effect is known", "الأثر معلوم"),
    "left_behind": _told("its effect stays", "الأثر باقٍ", "bad"),
    "two_effects_possible": _told("may have happened twice", "ربما تم مرتين", "bad"),
    "superseded": _told("replaced by an edit", "عُدّلت البيانات"),
    "edit_void": _told("the edit is void", "التعديل لاغٍ"),
    "withdrawal_sent": _told("asked to leave it", "طُلب السحب"),
    "retry_too_late": _told("too late to try again", "فات وقت المحاولة", "doubt"),
    "resend_too_late": _told("too late to send again", "فات وقت الإرسال", "doubt"),
    "deadline_waits_for_look_up": _told("its deadline waits for the answer", "المهلة بانتظار الجواب", "doubt"),
    "deadline_near": _told("most of its time is used", "قاربت المهلة نهايتها", "doubt"),
    "deadline_passed": _told("its deadline passed; it goes on", "انقضت المهلة", "doubt"),
}
_AWAY_WORDS = _told("down; next try in {wait} s", "النظام متوقف", "doubt")
#: The same kinds, of an interaction that takes a step back.
_UNDOING: Mapping[str, Told] = {
    "step_succeeded": _told("taken back", "تم الإلغاء", "good"),
    "step_parked": _told("taking back waits for an operator", "الإلغاء بانتظار المشغّل", "bad"),
    "step_failed": _told("not taken back", "تعذّر الإلغاء", "bad"),
}
_OUTCOMES: Mapping[RequestState, Tone] = {
    RequestState.COMPLETED: "good",
    RequestState.REJECTED: "bad",
    RequestState.FAILED: "bad",
}
_EFFECT_DONE = _told("done; answer garbled", "تم والجواب تالف", "bad")


def told(fact: Fact, agency: Text | None) -> Told | None:
    """What people are told of a fact, or None where it says nothing new. An unknown kind is told by its own name."""
    if fact.kind in QUIET:
        return None
    if fact.kind == "ended":
        state = RequestState(fact.changes["state"])
        title = REQUEST_TITLES[state]
        return Told(text=Text(en=title.en.lower(), ar=title.ar), tone=_OUTCOMES.get(state, "doubt"))
    words = _words(fact)
    given = {"reason": _reason(fact), "wait": _wait(fact)}
    return Told(
        text=Text(
            en=words.text.en.format(agency=agency.en if agency else "", **given),
            ar=words.text.ar.format(agency=agency.ar if agency else "", **given),
        ),
        tone=words.tone,
    )


def _words(fact: Fact) -> Told:
    if fact.step_kind == Kind.COMPENSATION and fact.kind in _UNDOING:
        return _UNDOING[fact.kind]
    if fact.kind == "step_retrying" and _reason(fact) in _AWAY:
        return _AWAY_WORDS
    if fact.kind == "step_parked" and _reason(fact) == "answer_unreadable":
        return _EFFECT_DONE
    return _WORDS.get(fact.kind) or _told(fact.kind.replace("_", " "), "")


def _reason(fact: Fact) -> str:
    return str(fact.changes.get("reason") or fact.reason or "")


def _wait(fact: Fact) -> str:
    """Seconds until the next try."""
    until = fact.changes.get("next_at")
    return str(round((until - fact.at) / _MILLISECONDS)) if isinstance(until, int) else "?"
