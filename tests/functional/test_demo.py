"""`bus demo` as a person sees it: what happened, in both languages, in lines that fit, in the workspace's words."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from rich.cells import cell_len

from bus.cli.demo.picture import drawn, shape
from tests.support.demo_workspace import REGISTRY, ROOT
from tests.support.installation import Installation
from tests.support.waiting import wait_for
from tests.support.workspaces.copies import copy_of_repository

#: Seconds: three times what it takes on a machine that does other things too.
BOUND = 100.0
TAX = "tax_authority"
#: One request at which nobody fails, on the service of the repository's scenes.
QUICK = """
service: open-business.v1
scenes:
  - title: {en: Quick, ar: سريع}
    request: open-business-at-home.json
"""
#: The same, but the registry does its work twice and answers once.
TWICE = QUICK + "    troubles: [{operation: name.reserve.v1, fails: effect_twice}]\n"


def workspace(folder: Path, scenes: str | None = None) -> Path:
    """A copy of the repository's workspace, with other scenes if any."""
    root, _ = copy_of_repository(folder)
    shutil.copytree(ROOT / "docs" / "samples", root / "docs" / "samples")
    if scenes is not None:
        (root / "docs" / "samples" / "demo.yaml").write_text(scenes, encoding="utf-8")
    return root


@contextmanager
def begun(*words: str, temporary: Path | None = None, output: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """A demo on the repository's workspace, or another; its output is no terminal. It does not outlive the test."""
    environment = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    environment |= {"PYTHONUNBUFFERED": "1", "TERM": "xterm"} | ({"TMPDIR": str(temporary)} if temporary else {})
    demo = subprocess.Popen(
        [sys.executable, "-m", "bus", "demo", *words],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield demo
    finally:
        if demo.poll() is None:
            demo.kill()
        demo.communicate()


def played(*words: str) -> tuple[int, str, str]:
    """The exit code of a demo, what it printed, and what it said on stderr."""
    with begun(*words) as demo:
        output, error = demo.communicate(timeout=BOUND)
        return demo.returncode, output, error


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What one of two demos prints that play at once, beside a bus that serves."""
    with Installation(tmp_path_factory.mktemp("serving")), begun() as one, begun() as other:
        ends = [(*demo.communicate(timeout=BOUND), demo.returncode) for demo in (one, other)]
    assert [(error, code) for _, error, code in ends] == [("", 0), ("", 0)]
    assert len(ends[0][0].splitlines()) == len(ends[1][0].splitlines())
    return ends[0][0]


@pytest.mark.timeout(240)
def test_two_demos_at_once_beside_a_running_bus_print_plain_lines_that_fit(told: str) -> None:
    # Then everything fits on 80 lines of 80 cells,
    lines = told.splitlines()
    assert len(lines) <= 80
    assert [line for line in lines if cell_len(line) > 80] == []
    # without colours, or signs that nobody sees
    assert [line for line in lines if not line.isprintable()] == []
    # and every Arabic text ends at the same edge
    arabic = [line for line in lines if re.search("[\u0600-\u06ff]", line)]
    assert len(arabic) > 50
    assert {cell_len(line) for line in arabic} == {80}


@pytest.mark.timeout(240)
def test_every_scene_shows_its_trouble_and_ends_well(told: str) -> None:
    first, second, third = re.split(r"(?m)^[123]\. ", told)[1:]
    # Two systems are down and tried again; a reply is lost, so the same bytes go out again; a paper is brought
    assert len(re.findall("down; next try", first)) >= 2
    assert "no reply; same bytes again" in first
    assert re.search("Clerk.*missing(.|\n)*Applicant.*brings(.|\n)*Clerk.*permit(.|\n)*Request +completed", first)
    # What was done for a request that is refused is taken back, by both agencies
    assert re.search("refused: zoning(.|\n)*Request +rejected", second)
    assert re.findall("(Tax clearance|Trade name) +taken back ", second) == ["Tax clearance", "Trade name"]
    # A garbled answer is read again after the mend; one that never came is asked for
    assert re.search("answer garbled(.|\n)*utf-8(.|\n)*read_as(.|\n)*replays(.|\n)*Tax clearance +done", third)
    assert re.search("no answer(.|\n)*asked what became of it(.|\n)*Registration +done(.|\n)*completed", third)


@pytest.mark.timeout(240)
def test_both_ledgers_show_each_effect_once_and_the_store_adds_up(told: str) -> None:
    _, _, books = told.partition("own books")
    registry, _, tax = books.partition("Tax authority")
    effects = [re.findall(r"(?m)^    (\d)  (.+?) {2,}\S+ +(\S+)  ", of) for of in (registry, tax)]
    assert effects == [
        [
            ("1", "Trade name", "once"),
            ("1", "Registration", "once"),
            ("2", "Trade name", "once"),
            ("2", "Trade name, taken back", "once"),
            ("3", "Trade name", "once"),
            ("3", "Registration", "once"),
        ],
        # Of the answer that was garbled and read again there is one certificate: nobody asked for it twice.
        [
            ("1", "Tax clearance", "once"),
            ("2", "Tax clearance", "once"),
            ("2", "Tax clearance, taken back", "once"),
            ("3", "Tax clearance", "once"),
        ],
    ]
    assert "it adds up" in books


@pytest.mark.timeout(240)
def test_the_picture_in_the_readme_shows_the_lines_that_a_demo_prints(told: str) -> None:
    picture = (ROOT / "docs" / "pictures" / "demo.svg").read_text(encoding="utf-8")
    assert {shape(row.text) for row in drawn(picture)} == {shape(line) for line in told.splitlines()}, "run make docs"


@pytest.mark.timeout(180)
def test_a_step_under_another_name_and_title_is_told_so(tmp_path: Path) -> None:
    # Given a workspace that calls one of its steps otherwise
    root = workspace(tmp_path)
    routes = root / "routes.yaml"
    text = routes.read_text(encoding="utf-8")
    for old, new in (
        (
            "      tax:\n        title: {en: Tax clearance, ar: براءة ذمة ضريبية}",
            "      dues:\n        title: {en: Dues paid, ar: سداد المستحقات}",
        ),
        ("[name, tax, permit]", "[name, dues, permit]"),
        ("steps.tax.", "steps.dues."),
    ):
        assert old in text
        text = text.replace(old, new)
    routes.write_text(text, encoding="utf-8")
    # When the same scenes are played
    code, told, error = played("--workspace", str(root))
    # Then they play, and the transcript and the books speak of the step as that workspace does
    assert (code, error) == (0, "")
    assert "Tax clearance" not in told
    assert "براءة ذمة ضريبية" not in told
    assert re.search("Dues paid +down; next try.*سداد المستحقات: النظام متوقف", told)
    assert re.search("2  Dues paid, taken back .*once", told)


@pytest.mark.timeout(120)
def test_an_effect_that_stands_twice_is_told_and_the_demo_fails(tmp_path: Path) -> None:
    code, told, _ = played("--workspace", str(workspace(tmp_path, TWICE)))
    assert code == 1
    assert len(re.findall("1  Trade name .*2 TIMES", told)) == 2


@pytest.mark.timeout(120)
def test_a_step_that_waits_for_an_operator_whom_no_scene_provides_ends_the_demo(tmp_path: Path) -> None:
    garbled = QUICK + "    troubles: [{operation: clearance.issue.v1, fails: wrong_encoding}]\n"
    code, _, error = played("--workspace", str(workspace(tmp_path, garbled)))
    assert code == 1
    assert f"step tax (Tax clearance) is parked at {TAX} because of answer_unreadable" in error
    assert "docs/samples/demo.yaml has no mend" in error


@pytest.mark.timeout(120)
def test_a_system_that_dies_for_good_ends_the_demo_with_its_agency_and_the_step(tmp_path: Path) -> None:
    # Given a demo whose registry is killed as soon as it runs
    with begun(temporary=tmp_path) as demo:
        os.kill(wait_for("the simulator's process", lambda: simulator_of(demo.pid, REGISTRY)), signal.SIGKILL)
        # When nothing comes from it any more
        _, error = demo.communicate(timeout=BOUND)
        # Then the demo says who does not answer, and what waits for it, and leaves nothing behind
        assert demo.returncode == 1
    assert f"{REGISTRY} does not answer (its legacy system is not running); step name" in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
def test_a_demo_that_is_interrupted_ends_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with begun(temporary=tmp_path) as demo:
        simulator = wait_for("the simulator's process", lambda: simulator_of(demo.pid, TAX))
        assert demo.stdout is not None
        demo.stdout.readline()
        demo.send_signal(signal.SIGINT)
        _, error = demo.communicate(timeout=BOUND)
        assert demo.returncode == 1
    assert error.strip() == "Stopped."
    assert list(tmp_path.iterdir()) == []
    assert not Path(f"/proc/{simulator}").exists()


@pytest.mark.timeout(120)
def test_what_is_left_running_serves_its_pages_until_it_is_stopped(tmp_path: Path) -> None:
    # Given a demo that is left running with one request for the clerk
    scenes = QUICK.replace("scenes:", "left_open: open-business-waiting.json\nscenes:")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with begun("--serve", "--workspace", str(workspace(tmp_path, scenes)), temporary=temporary) as demo:
        assert demo.stdout is not None
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        told = "".join(lines)
        assert [line for line in lines if cell_len(line.rstrip("\n")) > 80] == []
        desk, citizen, api = re.findall(r"http://127\.0\.0\.1:\d+/\S+", told)
        clerk, portal = re.findall(r"(?:sign in with|asked with) +(\S+)", told)
        # When the addresses are opened, Then each of them answers
        page = httpx.get(desk, follow_redirects=True)
        assert (page.status_code, "<form" in page.text) == (200, True)
        assert httpx.get(citizen).status_code == 200
        v1 = api.removesuffix("/openapi.json")
        assert httpx.get(api, headers={"Authorization": f"Bearer {portal}"}).status_code == 200
        # and the clerk's token shows the task that waits
        rows = httpx.get(f"{v1}/desk", headers={"Authorization": f"Bearer {clerk}"}).json()["items"]
        assert len(rows) == 1
        # When it is stopped, Then it ends well and leaves nothing behind
        demo.send_signal(signal.SIGINT)
        rest, error = demo.communicate(timeout=BOUND)
        assert (demo.returncode, error) == (0, "")
        assert rest.startswith("Stopped.")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_colours_unless_it_wants_none(tmp_path: Path, no_color: str) -> None:
    # Given a terminal
    ours, theirs = pty.openpty()
    words = ["-m", "bus", "demo", "--workspace", str(workspace(tmp_path, QUICK))]
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": no_color}
    # When a demo prints on it
    demo = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, stdin=theirs, stdout=theirs)
    os.close(theirs)
    told = b"".join(iter(lambda: read_terminal(ours), b""))
    os.close(ours)
    # Then it has colours, or plain lines
    assert demo.wait(BOUND) == 0
    assert "القيد في السجل".encode() in told
    assert (b"\x1b[" in told) is (not no_color)


def read_terminal(end: int) -> bytes:
    """What comes next; b"" when the other side has closed."""
    try:
        return os.read(end, 65_536)
    except OSError:
        return b""


def simulator_of(parent: int, agency: str) -> int | None:
    """The child that stands in for an agency's system, by its command line."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                command = (process / "cmdline").read_bytes()
                stat = (process / "stat").read_text(encoding="utf-8")
            except (FileNotFoundError, ProcessLookupError):
                continue
            wanted = f"simulator\0run\0{agency}".encode()
            if wanted in command and int(stat.rsplit(")", 1)[1].split()[1]) == parent:
                return int(process.name)
    return None
