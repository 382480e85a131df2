"""The command itself: plays on a terminal, and may leave the bus running afterwards."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.text import Text as Styled

from bus import logs
from bus.bootstrap import load_workspace
from bus.catalog import Workspace
from bus.cli.demo import layout
from bus.cli.demo.books import tell_end, tell_next
from bus.cli.demo.layout import Row, Tone
from bus.cli.demo.play import PATIENCE, Player
from bus.cli.demo.scenes import Script, read_script
from bus.cli.demo.stage import Stage, StuckError, copied, stage
from bus.cli.demo.transcript import Out, Transcript
from bus.message.text import Text

ENVIRONMENT = "demo"
_STYLES: dict[Tone, str] = {
    "plain": "",
    "title": "bold",
    "good": "green",
    "bad": "red",
    "doubt": "yellow",
    "person": "cyan",
    "quiet": "dim",
}


@click.command()
@click.option("--serve", is_flag=True, help="Leave it running afterwards, and print the addresses of its pages.")
@click.option("--workspace", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path(), hidden=True)
def demo(serve: bool, workspace: Path) -> int:
    """Show one service at work: outages, a lost reply, a missing paper, a refusal, answers that never come or garbled.

    What is played stands in docs/samples/demo.yaml. It runs in a temporary copy of the workspace, on free ports, and
    leaves nothing behind. Exits 1 if an effect stands twice, or if somebody does not answer.
    """
    logs.configure(json=True, level="error")
    stop = _Stop()
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, stop.interrupt)
    try:
        read = load_workspace(workspace.resolve(), ENVIRONMENT)
        return 0 if perform(read, stop.heeded(_terminal()), serve=serve) else 1
    except StuckError as error:
        click.echo(f"\nThe demo cannot go on: {error}", err=True)
        return 1


def perform(workspace: Workspace, out: Out, *, serve: bool = False) -> bool:
    """Play every scene of the workspace on a bus of its own; whether each effect stands once and the store adds up."""
    read_script(workspace)  # its faults are told before anything begins
    with tempfile.TemporaryDirectory(prefix="bus-demo-") as name:
        copy = copied(workspace, Path(name).resolve())
        script = read_script(copy)
        with stage(copy, copy.root / ".bus", script) as made:
            transcript = Transcript(copy, script.definition, made.now, out)
            transcript.introduce()
            for scene in script.scenes:
                Player(made, transcript, scene).play()
            well = tell_end(made, transcript)
            if serve:
                _serve(made, transcript, script)
            else:
                tell_next(transcript)
    return well


def _serve(made: Stage, transcript: Transcript, script: Script) -> None:
    """Leave it running until told to stop; one more request waits for a clerk."""
    tracking = _left_open(made, script)
    transcript.show([layout.Row(), *layout.heading(Text(en="Left running", ar="الناقل قائم"))])
    for agency in made.clerks:
        _address(transcript, "The desk", f"{made.address}/desk", made.parts.workspace.agencies[agency].name.ar)
        _address(transcript, "  sign in with", made.token(agency))
    _address(transcript, "A citizen's page", f"{made.address}/track/{tracking}", "متابعة طلب")
    _address(transcript, "The API", f"{made.address}/v1/openapi.json", "واجهة البرامج")
    _address(transcript, "  asked with", made.token(made.consumer))
    _address(transcript, "To stop it", "Ctrl-C", "لإيقافه")
    told = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: told.set())
    told.wait()
    transcript.show(layout.heading(Text(en="Stopped.", ar="توقف الناقل"), tone="quiet"))


def _address(transcript: Transcript, what: str, where: str, arabic: str = "") -> None:
    transcript.show([layout.entry((2, what), (20, where), arabic=arabic)])


def _left_open(made: Stage, script: Script) -> str:
    """The tracking code of the request that waits for a clerk."""
    if script.left_open is None:
        return str(made.portal.request_show(made.requests[0])["tracking"])
    receipt = made.portal.submit(script.definition.service, dict(script.left_open), key="demo-left-open")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not any(clerk.desk_list()["items"] for clerk in made.clerks.values()):
        time.sleep(0.05)
    return str(receipt["tracking"])


def _terminal() -> Out:
    """Colours on a terminal; anywhere else, or with NO_COLOR, plain lines."""
    console = Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")

    def out(row: Row) -> None:
        console.print(Styled.assemble(*((text, _STYLES[tone]) for text, tone in row.pieces())), soft_wrap=True)

    return out


class _Stop:
    """Ctrl-C. What it raises may be lost where Python ignores exceptions, so the next row raises it again."""

    def __init__(self) -> None:
        self._wanted = False

    def interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        self._wanted = True
        raise KeyboardInterrupt

    def heeded(self, out: Out) -> Out:
        def out_unless_stopped(row: Row) -> None:
            if self._wanted:
                raise KeyboardInterrupt
            out(row)

        return out_unless_stopped


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """Told to stop: let go of everything on the way out."""
    raise SystemExit(1)
