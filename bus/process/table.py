"""The complete table of states and events; `decide` obeys it, the tests read it, ``docs/states.md`` is made from it.

A cell is a verb, defined beside the events it belongs to. ``-`` does nothing and writes no fact: the event does not fit
any more. The tables: replies to the current attempt, replies to an older attempt or edit, the bus's own timers, what
people do, the beginning of closing; each for open requests, closing requests and compensations where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from bus.process.state import StepState

#: (state, column) -> verb.
Table: TypeAlias = Mapping[tuple[StepState, str], str]


def _read(text: str) -> Table:
    header, *rows = (line.split() for line in text.strip().splitlines())
    return {
        (StepState(state), column): verb for state, *verbs in rows for column, verb in zip(header, verbs, strict=True)
    }


#: Replies to the current attempt of the current edit; request open.
REPLIES_OPEN: Table = _read("""
           completed  refused       returned pending  retryable    permanent        done        unknown  withdrawn
waiting    early      early         early    early    early        early            early       early    early
ready      older      older         older    older    older        older            older       older    older
dispatched succeed    refuse        return   pend     retry        exhaust          park_done   doubt    park_withdrawn
returned   succeed    refuse        reask    late     late         late             park_done   late     late
pending    succeed    refuse        return   pend     retry        exhaust          park_done   doubt    park_withdrawn
retrying   older      older         older    older    older        older            older       older    older
unknown    succeed    refuse        return   pend     retry_or_end exhaust_or_end   park_done   count    park_withdrawn
parked     succeed    refuse        return   evidence effect_none  effect_none      effect_done evidence effect_none
succeeded  compare    contradict    late     late     late         late             late        late     late
refused    contradict compare       late     late     late         late             late        late     late
skipped    take_back  late          late     late     late         late             late        late     late
failed     take_back  late          late_effect late_effect late_effect late_effect late_effect late_effect late_effect
expired    take_back  late          late_effect late_effect late_effect late_effect late_effect late_effect late_effect
cancelled  take_back  late          late_effect late_effect late_effect late_effect late_effect late_effect late_effect
""")

#: Replies to the current attempt; request closing or ended. The finals are as in `REPLIES_OPEN`.
REPLIES_CLOSING: Table = {
    **REPLIES_OPEN,
    **_read("""
           completed refused returned pending  retryable permanent done        unknown  withdrawn
dispatched succeed   refuse  cancel   pend     cancel    cancel    park_done   doubt    cancel
pending    succeed   refuse  cancel   pend     cancel    cancel    park_done   doubt    cancel
unknown    succeed   refuse  cancel   pend     cancel    cancel    park_done   count    cancel
parked     succeed   refuse  cancel   evidence cancel    cancel    effect_done evidence cancel
"""),
}

#: Replies to the current attempt of a compensation.
REPLIES_COMPENSATION: Table = _read("""
           completed refused      returned     pending  retryable    permanent    done     unknown  withdrawn
waiting    early     early        early        early    early        early        early    early    early
ready      older     older        older        older    older        older        older    older    older
dispatched succeed   park_refused park_refused pend     retry        exhaust      succeed  doubt    park_withdrawn
returned   -         -            -            -        -            -            -        -        -
pending    succeed   park_refused park_refused pend     retry        exhaust      succeed  doubt    park_withdrawn
retrying   older     older        older        older    older        older        older    older    older
unknown    succeed   park_refused park_refused pend     retry_or_end exhaust      succeed  count    park_withdrawn
parked     succeed   evidence     evidence     evidence effect_none  effect_none  succeed  evidence effect_none
succeeded  compare   contradict   late         late     late         late         late     late     late
refused    -         -            -            -        -            -            -        -        -
skipped    -         -            -            -        -            -            -        -        -
failed     succeed   late         late         late     late         late         late     late     late
expired    -         -            -            -        -            -            -        -        -
cancelled  succeed   late         late         late     late         late         late     late     late
""")

#: Replies to an older attempt, or to an older edit; ``other`` is every kind but completed and refused.
REPLIES_OLDER: Table = _read("""
           completed  refused    other edit_completed     edit_refused edit_other
waiting    early      early      early early              early        early
ready      succeed    refuse     late  older_edit_settles late         late
dispatched succeed    refuse     late  park_two_effects   late         late
returned   succeed    refuse     late  park_two_effects   late         late
pending    succeed    refuse     late  park_two_effects   late         late
retrying   succeed    refuse     late  park_two_effects   late         late
unknown    succeed    refuse     late  park_two_effects   late         late
parked     succeed    refuse     late  older_edit_settles late         late_unknown
succeeded  compare    contradict late  two_effects        late         late
refused    contradict compare    late  two_effects_back   late         late
skipped    take_back  late       late  take_back          late         late
failed     take_back  late       late  take_back          late         late
expired    take_back  late       late  take_back          late         late
cancelled  take_back  late       late  take_back          late         late
""")

#: A compensation is never edited, and never ends as refused: what its agency refuses waits for a person.
REPLIES_OLDER_COMPENSATION: Table = _read("""
           completed refused      other edit_completed edit_refused edit_other
waiting    early     early        early -              -            -
ready      succeed   late         late  -              -            -
dispatched succeed   park_refused late  -              -            -
returned   -         -            -     -              -            -
pending    succeed   park_refused late  -              -            -
retrying   succeed   late         late  -              -            -
unknown    succeed   park_refused late  -              -            -
parked     succeed   evidence     late  -              -            -
succeeded  compare   contradict   late  -              -            -
refused    -         -            -     -              -            -
skipped    -         -            -     -              -            -
failed     succeed   late         late  -              -            -
expired    -         -            -     -              -            -
cancelled  succeed   late         late  -              -            -
""")

#: Codes of ``failed`` with a rule of their own, for a step that waits for its provider: code -> (open, closing).
#: ``superseded_too_late`` makes an edit void in either.
CODES: Mapping[str, tuple[str, str]] = {
    "withdrawn": ("park_withdrawn", "cancel"),
    "never_seen": ("again_or_end", "cancel"),
    "absent": ("retry_or_end", "cancel"),
    "too_late": ("end", "cancel"),
    "busy": ("busy", "cancel"),
    "interaction_reused": ("park_stated", "park_stated"),
    "answer_unreadable": ("park_done", "park_done"),
    "no_simulator": ("park_stated", "cancel"),
}

#: The bus's own timers, a new broker epoch, a message that the broker gave up, and a restored store; request open.
TIMERS_OPEN: Table = _read("""
           answer      ask  next deadline         until      epoch       poison      restored
waiting    -           -    -    -                -          -           -           -
ready      -           -    -    end_or_doubt     -          -           -           -
dispatched resend      -    -    end_or_doubt     -          resend      resend_once query_anew
returned   -           -    -    -                unsupplied -           -           -
pending    query_again ask  -    doubt            -          query_again query_once  query_anew
retrying   -           -    go   end              -          -           -           -
unknown    query_again ask  -    end_look_ups     -          query_again query_once  query_anew
parked     -           -    -    -                -          -           -           -
succeeded  -           -    -    -                -          -           -           -
refused    -           -    -    -                -          -           -           -
skipped    -           -    -    -                -          -           -           -
failed     -           -    -    -                -          -           -           -
expired    -           -    -    -                -          -           -           -
cancelled  -           -    -    -                -          -           -           -
""")

#: While closing a task is never sent again: its withdrawal is.
TIMERS_CLOSING: Table = {
    **TIMERS_OPEN,
    (StepState.DISPATCHED, "answer"): "withdraw",
    (StepState.DISPATCHED, "epoch"): "withdraw",
    (StepState.DISPATCHED, "poison"): "withdraw_once",
    (StepState.DISPATCHED, "deadline"): "doubt",
    (StepState.UNKNOWN, "deadline"): "park_unknown",
}

#: A compensation is sent in closing; past its deadline a person decides at once.
TIMERS_COMPENSATION: Table = {**TIMERS_OPEN, (StepState.UNKNOWN, "deadline"): "park_unknown"}

#: What people do to a step of an open request.
COMMANDS_OPEN: Table = _read("""
           supplement give_up          replay        edit          answer          skip
waiting    conflict   conflict         conflict      conflict      conflict        skip
ready      conflict   give_up_unsent   conflict      edit_unsent   answer_unsent   skip_unsent
dispatched conflict   conflict         conflict      conflict      conflict        conflict
returned   supplement give_up          conflict      conflict      answer          skip
pending    conflict   conflict         query_now     conflict      answer_withdraw conflict
retrying   conflict   give_up          go            edit          answer          skip
unknown    conflict   conflict         query_now     conflict      answer_withdraw conflict
parked     conflict   give_up          replay_parked edit_parked   answer_withdraw skip_unsent
succeeded  conflict   conflict         conflict      conflict      conflict        conflict
refused    conflict   conflict         conflict      conflict      conflict        conflict
skipped    conflict   conflict         conflict      conflict      conflict        conflict
failed     conflict   conflict         conflict      conflict      conflict        conflict
expired    conflict   conflict         conflict      conflict      conflict        conflict
cancelled  conflict   conflict         conflict      conflict      conflict        conflict
""")

#: What people do to a step of a closing request.
COMMANDS_CLOSING: Table = {
    **dict.fromkeys(COMMANDS_OPEN, "conflict"),
    (StepState.PENDING, "replay"): "query_now",
    (StepState.PENDING, "answer"): "answer_withdraw",
    (StepState.UNKNOWN, "replay"): "query_now",
    (StepState.UNKNOWN, "answer"): "answer_withdraw",
    (StepState.PARKED, "replay"): "look_up",
    (StepState.PARKED, "give_up"): "give_up",
    (StepState.PARKED, "answer"): "answer_withdraw",
}

#: What people do to a compensation; ``answer`` means "done by hand".
COMMANDS_COMPENSATION: Table = {
    **dict.fromkeys(COMMANDS_OPEN, "conflict"),
    (StepState.READY, "answer"): "answer",
    (StepState.PENDING, "replay"): "query_now",
    (StepState.PENDING, "answer"): "answer_withdraw",
    (StepState.RETRYING, "replay"): "go",
    (StepState.RETRYING, "answer"): "answer",
    (StepState.RETRYING, "give_up"): "give_up",
    (StepState.UNKNOWN, "replay"): "query_now",
    (StepState.UNKNOWN, "answer"): "answer",
    (StepState.PARKED, "replay"): "replay_parked",
    (StepState.PARKED, "answer"): "answer",
    (StepState.PARKED, "give_up"): "give_up",
    (StepState.FAILED, "answer"): "answer",
}

#: What the beginning of closing, and a termination, do to each step.
CLOSING: Table = _read("""
           begin           terminate
waiting    cancel          cancel
ready      cancel_or_doubt cancel_behind
dispatched withdraw        cancel_behind
returned   cancel          cancel
pending    withdraw        cancel_behind
retrying   cancel          cancel
unknown    withdraw_query  cancel_behind
parked     closing_parked  cancel_behind
succeeded  take_back       -
refused    -               -
skipped    -               -
failed     behind          -
expired    -               -
cancelled  -               -
""")
