"""The end of the demo: what the agencies' own books say, whether the store adds up, and where to go next."""

from __future__ import annotations

import sys

from bus.bootstrap import simulator_folder
from bus.cli.demo import layout
from bus.cli.demo.stage import Stage
from bus.cli.demo.transcript import Transcript
from bus.message.identity import reference
from bus.message.text import Text
from bus.process.state import Kind
from bus.simulator import Ledger

_NEXT = (
    ("demo --serve", Text(en="leave it running, see the desk", ar="إبقاء الناقل قائمًا")),
    ("serve", Text(en="run the bus here; see README", ar="تشغيل الناقل هنا")),
)


def tell_end(stage: Stage, transcript: Transcript) -> bool:
    """Print it; whether all is well: every effect stands once, and the store adds up."""
    transcript.show([layout.Row()])
    title = Text(en="What stands in the agencies' own books, by request", ar="في سجلات الجهات نفسها")
    transcript.show(layout.heading(title))
    told = [_tell_ledger(stage, transcript, agency) for agency in stage.systems]
    return all([*told, _tell_store(stage, transcript)])


def tell_next(transcript: Transcript) -> None:
    """Print where to go from here."""
    transcript.show([layout.Row(), *layout.heading(Text(en="Next", ar="بعد ذلك"))])
    program = _program()
    for command, text in _NEXT:
        transcript.show([layout.entry((2, f"{program} {command}"), (30, text.en), arabic=text.ar)])


def _program() -> str:
    """How this program was called where that was by a short path, as ``make demo`` does: it may not be on the PATH."""
    called = sys.argv[0]
    return called if called.endswith("/bus") and not called.startswith("/") and len(called) < 15 else "bus"


def _tell_ledger(stage: Stage, transcript: Transcript, agency: str) -> bool:
    transcript.show(layout.heading(stage.parts.workspace.agencies[agency].name, column=2, tone="plain"))
    ledger = Ledger(simulator_folder(stage.parts.data, agency) / "ledger.db")
    counts = ledger.counts()
    known = _references(stage)
    for entry in ledger.entries():
        times = counts[entry.reference]
        number, text = known.get(entry.reference, ("-", Text(en=entry.operation, ar="")))
        once = "once" if times == 1 else f"{times} TIMES"
        cells = ((4, number), (7, text.en), (36, entry.made), (49, once))
        transcript.show([layout.entry(*cells, arabic=text.ar, tone="plain" if times == 1 else "bad")])
    return all(times == 1 for times in counts.values())


def _references(stage: Stage) -> dict[str, tuple[str, Text]]:
    """What each reference in the legacy systems stands for: the number of the request, and its step."""
    found = {}
    for number, request_id in enumerate(stage.requests, 1):
        request = stage.request(request_id)
        for key in request.steps:
            title = stage.script.definition.steps[key.step].title
            undone = key.kind is Kind.COMPENSATION
            text = Text(en=f"{title.en}, taken back", ar=f"{title.ar}: إلغاء") if undone else title
            found[reference(request.interaction(key))] = (str(number), text)
    return found


def _tell_store(stage: Stage, transcript: Transcript) -> bool:
    faults = stage.parts.store.recount()
    facts = sum(len(stage.parts.store.facts(request)) for request in stage.requests)
    said = f"The store of the bus: {len(stage.requests)} requests, {facts} facts; "
    text = Text(en=said + ("; ".join(faults) or "it adds up"), ar="" if faults else "الحساب مطابق")
    transcript.show(layout.heading(text, tone="bad" if faults else "good"))
    return not faults
