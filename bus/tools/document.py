"""Writes the pages that follow from the code: ``python -m bus.tools.document``; ``--check`` only says what is stale."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bus.process import table
from bus.process.state import StepState
from bus.process.table import Table
from bus.tools.schema_page import reference

#: What each verb of the tables does, for people.
VERBS: Mapping[str, str] = {
    "-": "does not fit any more, or cannot be: nothing, not even a fact",
    "conflict": "refused with who, when and what the row is now",
    "again_or_end": "ready, attempt + 1, no try used; past the deadline as `end`",
    "answer": "succeeded or refused, as the person states",
    "answer_unsent": "as `answer`, if it had no effect; else a conflict",
    "answer_withdraw": "as `answer`; where the effect is unknown a withdrawal is sent",
    "ask": "one more look-up; in doubt, with as many sent as there are attempts: parked",
    "busy": "retrying at the time that the agency names, no try used",
    "cancel": "cancelled, effect none",
    "cancel_behind": "cancelled; where an effect may exist it is listed as left behind",
    "cancel_or_doubt": "effect none: cancelled; else unknown and looked up",
    "behind": "effect unknown: left behind; effect done: its compensation is wanted",
    "closing_parked": "effect none: cancelled; unknown: looked up and stays; done: stays",
    "compare": "the same answer: a duplicate; another: failure `contradiction`",
    "contradict": "stays; failure `contradiction`",
    "count": (
        "a look-up could not tell. Request open and safe, or idempotent in its window: ready, attempt + 1. At most "
        "once, or past the deadline, or look-ups used: parked. Else stays"
    ),
    "doubt": "unknown, and looked up at once",
    "early": "stays; failure `early`: this store never sent it",
    "edit": "ready as a new interaction (edit + 1, attempt 1) that names the one it supersedes",
    "edit_parked": "as `edit`; effect done, or two interactions in doubt: a conflict",
    "edit_unsent": "as `edit`, if it had no effect; else a conflict",
    "effect_done": "stays; the effect is done",
    "effect_none": "stays; the effect is none",
    "end": "`on_deadline`: parked, refused or expired",
    "end_look_ups": "one look-up answered, or as many sent as there are attempts: parked; else waits for that",
    "end_or_doubt": "effect none: as `end`; else as `doubt`",
    "evidence": "stays; the reply is kept",
    "exhaust": "`on_exhausted`: parked or failed",
    "exhaust_or_end": "as `exhaust`; past the deadline as `end`",
    "give_up": "failed; effect unknown: left behind; effect done: its compensation is wanted",
    "give_up_unsent": "failed, if it had no effect; else a conflict",
    "go": "ready with the attempt that was waited for; past the deadline only the deadline ends it",
    "late": "stays; the reply is kept",
    "late_effect": "stays; the effect is what the reply says, and is listed if it may exist",
    "late_unknown": "stays; the effect is unknown if the reply says so",
    "look_up": "unknown, and looked up; never a task",
    "older": "its next attempt was not sent: as a reply to an older attempt",
    "older_edit_settles": "the newer edit never left: succeeded, the edit is void; else as `park_two_effects`",
    "park_done": "parked, effect done",
    "park_refused": "parked: what the agency will not take back waits for a person",
    "park_stated": "parked, effect as stated",
    "park_two_effects": "parked, effect done; failure `two_effects_possible`",
    "park_unknown": "parked, effect unknown",
    "park_withdrawn": "parked, effect none",
    "pend": "pending; asked again after growing intervals; in doubt and past the deadline: parked",
    "query_again": "the same look-up once more",
    "query_anew": "looked up now; the waiting for the answer begins anew",
    "query_once": "the first time as `query_anew`, with the reason `poison`; the second time parked",
    "query_now": "looked up now; look-ups and tries are counted anew",
    "reask": "stays; what is asked of the applicant is replaced if it differs",
    "refuse": "refused",
    "replay_parked": "effect unknown: unknown, and looked up; else ready, attempt + 1",
    "resend": "the same bytes again to a live host, unless it is too late to begin",
    "resend_once": "the first time as `resend`, with the reason `poison`; the second time parked",
    "retry": "retrying, attempt + 1; tries used: as `exhaust`",
    "retry_or_end": "as `retry`; past the deadline as `end`",
    "return": "returned: the applicant is asked, the clock rests",
    "skip": "skipped",
    "skip_unsent": "skipped, if it had no effect; else a conflict",
    "succeed": "succeeded, effect done; unless the request is open its compensation is wanted",
    "supplement": "ready, attempt + 1, with the patched data; the clock runs on",
    "take_back": "stays; its compensation is wanted, or the effect is listed as left behind unless it only read",
    "two_effects": "stays; failure `two_effects_possible`",
    "two_effects_back": "as `two_effects`, and as `take_back`",
    "unsupplied": "refused with `not_supplemented`",
    "withdraw": "a withdrawal is sent and its answer awaited; a desk's row is cancelled",
    "withdraw_once": "the first time as `withdraw`, with the reason `poison`; the second time parked",
    "withdraw_query": "a withdrawal and a look-up are sent",
}

_TABLES: Sequence[tuple[str, str, Table]] = (
    ("Replies to the current attempt, request open", "", table.REPLIES_OPEN),
    (
        "Replies to the current attempt, request closing or ended",
        "Rows that are final are all that is left after the end; the outcome never changes.",
        table.REPLIES_CLOSING,
    ),
    (
        "Replies to an older attempt or an older edit",
        "`other` is every kind but completed and refused. The same message twice is settled before it comes here.",
        table.REPLIES_OLDER,
    ),
    (
        "What befalls the bus itself, request open",
        (
            "Timers; `epoch`: the broker lost everything; `poison`: the broker gave a message of the current attempt "
            "up, for too many hosts died of it; `restored`: the store is older than what happened, and until a person "
            "opens it a look-up takes the place of whatever else would be sent. Nothing is ever sent to a desk."
        ),
        table.TIMERS_OPEN,
    ),
    ("What befalls the bus itself, request closing", "", table.TIMERS_CLOSING),
    ("What people do, request open", "Only an optional step can be skipped.", table.COMMANDS_OPEN),
    ("What people do, request closing", "After the end every command is a conflict.", table.COMMANDS_CLOSING),
    (
        "Closing begins, or a request is terminated",
        (
            "Closing begins when the consumer cancels, when the deadline of a request that expires passes, and when a "
            "required step is refused or failed. A termination ends the request at once."
        ),
        table.CLOSING,
    ),
    ("Compensations: replies to the current attempt", "", table.REPLIES_COMPENSATION),
    ("Compensations: replies to an older attempt", "", table.REPLIES_OLDER_COMPENSATION),
    ("Compensations: what befalls the bus itself", "", table.TIMERS_COMPENSATION),
    ("Compensations: what people do", "`answer` means: done by hand.", table.COMMANDS_COMPENSATION),
)

_INTRODUCTION = """\
# States of a step

<!-- Written by `make docs` from bus/process/table.py: change it there. -->

A row is one interaction: the task of a step, or its compensation. It has a state and an effect (`none`: nothing
happened, or nothing was sent; `unknown`: sent and not answered for good; `done`). An event meets the cell of the
row's state; the cell is a verb, explained at the end. After every event the needs of waiting steps are judged again,
a required step that became refused (and rejects) or failed begins closing, the next compensation becomes ready, and a
request whose rows are all over ends with its one result.

A failure with a code of its own rule follows that rule while the row waits for its provider:

"""


def states() -> str:
    """The page of the complete table of states and events, as Markdown."""
    codes = [[f"`{code}`", *verbs] for code, verbs in table.CODES.items()]
    codes.append(["`superseded_too_late`", *["the edit is void, the older interaction is looked up"] * 2])
    parts = [_INTRODUCTION + _rows(["code", "request open", "request closing"], codes)]
    for title, words, cells in _TABLES:
        parts.append(f"## {title}\n\n" + (f"{words}\n\n" if words else "") + _table(cells))
    used = sorted({verb for _, _, cells in _TABLES for verb in cells.values()} | _verbs_of_codes())
    parts.append("## Verbs\n\n" + "\n".join(f"- `{verb}`: {VERBS[verb]}." for verb in used) + "\n")
    return "\n".join(parts)


def _verbs_of_codes() -> set[str]:
    return {verb for verbs in table.CODES.values() for verb in verbs}


def _table(cells: Table) -> str:
    columns = list(dict.fromkeys(column for _, column in cells))
    rows = [[f"**{state}**", *(cells[state, column] for column in columns)] for state in StepState]
    alive = [row for row in rows if set(row[1:]) != {"-"}]
    return _rows(["state", *columns], alive)


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join("·" if cell == "-" else cell for cell in line) + " |\n" for line in lines)


#: Path below the root of the repository -> what belongs there.
PAGES: Mapping[str, Callable[[], str]] = {"docs/states.md": states}


def _route_reference(root: Path) -> str:
    meta = root / "schemas" / "meta"
    routes, env, persons = (
        json.loads((meta / f"{name}.schema.json").read_text(encoding="utf-8"))
        for name in ("routes", "env", "test-persons")
    )
    return "\n".join(reference(schema) for schema in (routes, env, persons))


#: Path below the root of the repository -> what belongs between the two marks of a page that people write.
PARTS: Mapping[str, Callable[[Path], str]] = {"docs/route.md": _route_reference}
BEGIN = "<!-- Written by `make docs` from schemas/meta/: change it there. -->\n"
END = "<!-- End of what make docs writes. -->\n"


def stale(root: Path) -> tuple[str, ...]:
    """The pages that are not what the code and the schemas say; a page that people write is judged where it is."""
    return tuple(name for name, text in _wanted(root).items() if _read(root / name) != text)


def _wanted(root: Path) -> dict[str, str]:
    pages = {name: page() for name, page in PAGES.items()}
    for name, part in PARTS.items():
        text = _read(root / name)
        if text:
            before, _, rest = text.partition(BEGIN)
            pages[name] = f"{before}{BEGIN}\n{part(root)}\n{END}{rest.partition(END)[2]}"
    return pages


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the stale pages, or with ``--check`` name them; 1 if there was one to name."""
    parser = argparse.ArgumentParser(prog="python -m bus.tools.document", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository (default: where you are)")
    given = parser.parse_args(arguments)
    names, wanted = stale(given.root), _wanted(given.root)
    for name in names:
        if given.check:
            print(f"{name} is not what the code says; run make docs")  # noqa: T201 - a program for people
        else:
            (given.root / name).parent.mkdir(parents=True, exist_ok=True)
            (given.root / name).write_text(wanted[name], encoding="utf-8")
    return 1 if given.check and names else 0


if __name__ == "__main__":
    raise SystemExit(main())
