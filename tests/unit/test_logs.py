"""A line of the log is one JSON object of declared fields, and no person's data gets into it."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import logs
from bus.errors import BrokerUnavailableError

ROOT = Path(__file__).parents[2]
SECRET = "أحمد-29001011234567"


@pytest.fixture(autouse=True)
def _afterwards_as_before() -> Iterator[None]:
    yield
    logs.configure(json=True, level="warning")


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    logs.configure(json=True, level="debug", stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


# --- lines ----------------------------------------------------------------------------------------------------------


def test_a_line_says_when_how_grave_and_what_and_then_its_fields(stream: io.StringIO) -> None:
    logs.bind().info("request_accepted", request_id="r-1", count=3)

    (line,) = lines(stream)
    assert list(line) == ["time", "level", "event", "request_id", "count"]
    assert line["time"].endswith("Z")
    assert line == {**line, "level": "info", "event": "request_accepted", "request_id": "r-1", "count": 3}


def test_every_line_of_a_bound_log_has_its_fields_and_the_nearest_wins(stream: io.StringIO) -> None:
    log = logs.bind(role="host", agency="tax").bind(agency="registry")

    log.warning("host_alarm", code="journal")
    log.warning("host_alarm", agency="municipality")

    assert [(line["role"], line["agency"]) for line in lines(stream)] == [
        ("host", "registry"),
        ("host", "municipality"),
    ]


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", "debug info warning error"),
        ("info", "info warning error"),
        ("warning", "warning error"),
        ("error", "error"),
    ],
)
def test_lines_below_the_level_are_not_written(level: logs.Level, written: str) -> None:
    stream = io.StringIO()
    logs.configure(json=True, level=level, stream=stream)
    log = logs.bind()

    log.debug("step_dispatched")
    log.info("step_dispatched")
    log.warning("step_dispatched")
    log.error("step_dispatched")

    assert [line["level"] for line in lines(stream)] == written.split()


def test_a_log_made_before_the_output_was_chosen_writes_to_it() -> None:
    log = logs.bind()
    stream = io.StringIO()

    logs.configure(json=True, stream=stream)
    log.info("gateway_started", port=8080)

    assert [line["port"] for line in lines(stream)] == [8080]


def test_until_an_output_is_chosen_warnings_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True, level="warning")

    logs.bind().info("gateway_started")
    logs.bind().warning("broker_unavailable")

    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["broker_unavailable"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "wanted", "is_json"),
    [(Terminal(), False, False), (Terminal(), True, True), (io.StringIO(), False, True), (io.StringIO(), True, True)],
)
def test_lines_are_laid_out_for_people_when_they_ask_and_look(
    stream: io.StringIO, *, wanted: bool, is_json: bool
) -> None:
    logs.configure(json=wanted, stream=stream)

    logs.bind().info("request_accepted", request_id="r-1")

    text = stream.getvalue()
    assert "request_accepted" in text
    assert "r-1" in text
    assert text.startswith("{") == is_json


def test_many_threads_write_whole_lines(stream: io.StringIO) -> None:
    def write(number: int) -> None:
        for count in range(200):
            logs.bind(attempt=number).info("reply_settled", count=count)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({(line["attempt"], line["count"]) for line in lines(stream)}) == 800


def test_a_log_that_nobody_reads_stops_nothing(stream: io.StringIO) -> None:
    stream.close()

    logs.bind().error("store_unavailable")


# --- no data --------------------------------------------------------------------------------------------------------


def test_an_undeclared_field_is_refused_by_the_type_checker_and_withheld(stream: io.StringIO) -> None:
    logs.bind().info("request_accepted", national_id="29001011234567", count=1)  # type: ignore[call-arg]

    line, alarm = lines(stream)
    assert line == {"time": line["time"], "level": "info", "event": "request_accepted", "count": 1}
    assert (alarm["event"], alarm["level"], alarm["count"]) == ("log_withheld", "error", 1)
    assert alarm["place"].startswith("tests/unit/test_logs.py:")


def test_a_field_of_the_wrong_type_is_refused_by_the_type_checker_and_withheld(stream: io.StringIO) -> None:
    logs.bind().info("request_accepted", count={"name": SECRET})  # type: ignore[arg-type]

    assert [line["event"] for line in lines(stream)] == ["request_accepted", "log_withheld"]
    assert "name" not in stream.getvalue()


def test_an_undeclared_event_is_refused_by_the_type_checker_and_withheld(stream: io.StringIO) -> None:
    logs.bind().info("looked at Ahmed", request_id="r-1")  # type: ignore[arg-type]

    assert [line["event"] for line in lines(stream)] == ["log_withheld"]
    assert "Ahmed" not in stream.getvalue()


def test_a_field_cannot_pretend_to_be_the_event(stream: io.StringIO) -> None:
    logs.bind().info("request_accepted", event="looked at Ahmed", level="x", time="y")  # type: ignore[call-arg]

    line, alarm = lines(stream)
    assert (line["event"], line["level"], alarm["count"]) == ("request_accepted", "info", 3)
    assert "Ahmed" not in stream.getvalue()


@pytest.mark.parametrize(
    "value", ["أحمد", "Ahmed Hassan", "29001011234567", "line\nbreak", "٢٩٠٠١٠١١", "x" * 257, "a\u00a0b", "\x1b[31m"]
)
def test_a_value_that_is_no_id_and_no_code_is_withheld(stream: io.StringIO, value: str) -> None:
    logs.bind().warning("message_invalid", code=value, agency="tax")

    line, alarm = lines(stream)
    assert "code" not in line
    assert line["agency"] == "tax"
    assert alarm["event"] == "log_withheld"


@pytest.mark.parametrize(
    "value",
    [
        "01975a2e-8d7c-8f00-9b5e-0a1b2c3d4e5f",
        "name.reserve.v1",
        "tasks.civil_registry",
        "7K4M9-Q2XHT-A",
        "http://127.0.0.1:8080/v1",
        "partners/0003/task/0",
        "",
    ],
)
def test_ids_codes_channels_and_addresses_are_told(stream: io.StringIO, value: str) -> None:
    logs.bind().info("step_dispatched", code=value)

    (line,) = lines(stream)
    assert line["code"] == value


@given(value=st.text(min_size=1))
def test_no_letter_beyond_ascii_and_no_blank_ever_gets_into_a_value(value: str) -> None:
    stream = io.StringIO()
    logs.configure(json=True, stream=stream)

    logs.bind().info("request_accepted", code=value)

    told = lines(stream)[0].get("code")
    assert told is None or (told == value and all("!" <= sign <= "~" for sign in value))


# --- exceptions -----------------------------------------------------------------------------------------------------


def fail() -> None:
    try:
        raise OSError(2, SECRET, f"/home/{SECRET}")
    except OSError as error:
        raise ValueError(f"cannot read {SECRET}") from error


def test_an_exception_is_told_by_class_places_and_causes_and_never_by_its_text(stream: io.StringIO) -> None:
    try:
        fail()
    except ValueError as error:
        logs.bind().error("unexpected_error", error=error)

    (line,) = lines(stream)
    first = fail.__code__.co_firstlineno
    assert line["error"] == "ValueError"
    assert line["error_at"][-1] == f"tests/unit/test_logs.py:{first + 4}"
    assert len(line["error_at"]) == 2
    assert line["error_cause"] == ["FileNotFoundError:ENOENT"]
    assert "error_code" not in line
    assert "2900101" not in stream.getvalue()
    assert "cannot read" not in stream.getvalue()


def test_the_code_of_our_own_errors_and_of_sqlite_is_told(stream: io.StringIO) -> None:
    ours = BrokerUnavailableError(f"no answer to {SECRET}", code="no-answer")
    theirs = sqlite3.OperationalError(SECRET)
    theirs.sqlite_errorname = "SQLITE_BUSY"

    logs.bind().warning("broker_unavailable", error=ours)
    logs.bind().warning("store_unavailable", error=theirs)

    assert [(line["error"], line["error_code"]) for line in lines(stream)] == [
        ("bus.errors.BrokerUnavailableError", "no-answer"),
        ("sqlite3.OperationalError", "SQLITE_BUSY"),
    ]
    assert "2900101" not in stream.getvalue()


def test_a_deep_exception_is_told_by_its_innermost_places(stream: io.StringIO) -> None:
    def dive(depth: int) -> None:
        if depth == 0:
            raise KeyError(SECRET)
        dive(depth - 1)

    try:
        dive(100)
    except KeyError as error:
        logs.bind().error("unexpected_error", error=error)

    (line,) = lines(stream)
    assert len(line["error_at"]) == 20
    assert line["error_at"][-1] != line["error_at"][0]


def test_causes_that_run_in_a_circle_are_told_once(stream: io.StringIO) -> None:
    first, second = ValueError(SECRET), TypeError(SECRET)
    first.__cause__, second.__cause__ = second, first

    logs.bind().error("unexpected_error", error=first)

    assert lines(stream)[0]["error_cause"] == ["TypeError"]


# --- the whole process ----------------------------------------------------------------------------------------------

PROGRAM = """
import logging, sys, threading, warnings
from bus import logs

logs.configure(json=True)
logs.claim_process()
SECRET = "Ahmed 29001011234567"

class Careless:
    def __del__(self):
        raise RuntimeError(SECRET)

def fail():
    raise ValueError(SECRET)

logging.getLogger("some.library").info("quiet %s", SECRET)
logging.getLogger("some.library").warning("cannot parse %s", SECRET)
try:
    fail()
except ValueError:
    logging.getLogger("other.library").exception("lost %s", SECRET)
warnings.warn(SECRET, UserWarning)
thread = threading.Thread(target=fail)
thread.start()
thread.join()
leaving = threading.Thread(target=sys.exit)
leaving.start()
leaving.join()
Careless()
fail()
"""


def test_in_a_claimed_process_libraries_warnings_and_lost_exceptions_become_lines_without_text() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)

    told = [json.loads(line) for line in ended.stderr.splitlines()]
    assert ended.returncode == 1
    assert [(line["event"], line.get("logger"), line.get("error")) for line in told] == [
        ("library_warned", "some.library", None),
        ("library_warned", "other.library", "ValueError"),
        ("library_warned", "UserWarning", None),
        ("unexpected_error", None, "ValueError"),
        ("unexpected_error", None, "RuntimeError"),
        ("unexpected_error", None, "ValueError"),
    ]
    assert "Ahmed" not in ended.stderr


def test_an_interrupt_from_the_keyboard_is_no_error() -> None:
    program = "from bus import logs; logs.configure(json=True); logs.claim_process(); raise KeyboardInterrupt"

    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert "unexpected_error" not in ended.stderr
    assert "KeyboardInterrupt" in ended.stderr
