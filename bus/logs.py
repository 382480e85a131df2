"""What the bus says of itself: events with a fixed set of names and fields, and no person's data in any of them.

Three walls keep data out. The type checker refuses an event or a field that is not declared here. At run time an
undeclared field, and a value that does not look like an id, a code or a number (blanks, letters beyond ASCII, long
runs of digits), is withheld and an alarm is raised in its place. Of an exception only class, code and places in the
code are told: its text belongs to whoever raised it and may quote what it choked on.
"""

from __future__ import annotations

import errno
import inspect
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, TextIO, TypedDict, Unpack, cast, get_args

import orjson
import structlog

from bus.errors import BusError

LogEvent = Literal[
    "adapter_call_failed",
    "agency_paused",
    "agency_resumed",
    # A failure that belongs to no request, counted with the one that is open for its cause.
    "alarm_raised",
    "batch_repeated",
    "breaker_closed",
    "breaker_opened",
    "broker_unavailable",
    "clock_drift",
    "deadlines_suspended",
    "drain_began",
    "drain_ended",
    "epoch_began",
    "failure_closed",
    "failure_opened",
    "gateway_started",
    "host_admitted",
    "host_alarm",
    # The settings of a host do not let it begin; `code` and `place` say why. The others go on.
    "host_misconfigured",
    "host_refused",
    "host_started",
    # A consumer hands messages out one by one, for one of them came again and again; and no longer.
    "isolation_began",
    "isolation_ended",
    # A host forgot what was answered and is old; `count` interactions.
    "journal_pruned",
    "journal_retired",
    "legacy_call_done",
    # A library logged or warned; `place` says where.
    "library_warned",
    # A field or a value was kept out of the line before this one; `place` says who wrote it.
    "log_withheld",
    "message_invalid",
    # The broker takes one message in no way; `cause` says why. Those beside it went on.
    "message_refused",
    # Messages wait in a channel, and the broker brings none of them.
    "nothing_delivered",
    "process_started",
    "process_stopped",
    "publish_refused",
    # The broker confirmed nothing in time; the connection was given up.
    "publish_unconfirmed",
    "publish_unroutable",
    "reply_settled",
    "request_accepted",
    "request_ended",
    "simulator_started",
    "step_dispatched",
    "store_unavailable",
    "unexpected_error",
    # A consumer's webhook did not take a message; it is brought again.
    "webhook_refused",
]

Level = Literal["debug", "info", "warning", "error"]


class Fields(TypedDict, total=False):
    """Every field that a line may have. Strings are ids and codes; times are milliseconds."""

    # The exception: told as its class, `error_code`, `error_at` and `error_cause`.
    error: BaseException | None

    # Who and where.
    agency: str
    channel: str
    consumer: str
    operation: str
    provider: str
    role: str
    service: str
    revision: str
    step: str
    item: str
    kind: str
    node: int
    pid: int
    address: str
    port: int
    place: str
    logger: str
    #: The id of a person who gave a command: never a name.
    user: str

    # Ids and numbers of one thing.
    attempt: int
    edit: int
    epoch: str
    interaction_id: str
    journal_id: str
    journal_seq: int
    key: int
    message_id: str
    request_id: str
    start_id: str
    tag: int
    version: int

    # What happened.
    alarm: str
    cause: str
    code: str
    effect: str
    fate: str
    how: str
    method: str
    outcome: str
    reason_code: str
    redelivered: bool
    route: str
    signal: str
    state: str
    status: int
    type: str

    # Counts, sizes, times.
    accepted: int
    count: int
    depth: int
    limit: int
    size: int
    at_ms: int
    drift_ms: int
    due_ms: int
    late_ms: int
    took_ms: float
    wait_ms: int


EVENTS: Final[frozenset[str]] = frozenset(get_args(LogEvent))
FIELDS: Final[frozenset[str]] = frozenset(Fields.__annotations__)

_NUMBERS: Final[dict[Level, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LONGEST = 256
_MOST_PLACES = 20


class Log:
    """Writes events, each with the fields it was bound to. Cheap to make, and any thread may use it."""

    __slots__ = ("_bound",)

    def __init__(self, bound: dict[str, Any]) -> None:
        self._bound = bound

    def bind(self, **fields: Unpack[Fields]) -> Log:
        """This log with more fields in every line."""
        return Log({**self._bound, **fields})

    def debug(self, event: LogEvent, /, **fields: Unpack[Fields]) -> None:
        """For whoever follows one message; costs next to nothing while the level is higher."""
        if _OUT.threshold <= 10:
            _write(10, event, {**self._bound, **fields})

    def info(self, event: LogEvent, /, **fields: Unpack[Fields]) -> None:
        """Something happened as it should."""
        if _OUT.threshold <= 20:
            _write(20, event, {**self._bound, **fields})

    def warning(self, event: LogEvent, /, **fields: Unpack[Fields]) -> None:
        """Something did not work and the bus goes on; look when it comes often."""
        if _OUT.threshold <= 30:
            _write(30, event, {**self._bound, **fields})

    def error(self, event: LogEvent, /, **fields: Unpack[Fields]) -> None:
        """A person must look."""
        _write(40, event, {**self._bound, **fields})


def bind(**fields: Unpack[Fields]) -> Log:
    """A log whose lines all have these fields. It may be made before `configure`: the output is looked up later."""
    return Log(dict(fields))


def configure(*, json: bool, level: Level = "info", stream: TextIO | None = None) -> None:
    """Where the lines of this process go from now on: one JSON object a line to ``stream`` (else stderr).

    Without ``json`` they are laid out for people, if the stream is a terminal.
    """
    chosen = stream or _Stderr()
    _OUT.threshold = _NUMBERS[level]
    _OUT.logger = _logger(chosen, for_people=not json and chosen.isatty())


def claim_process() -> None:
    """Let nothing but events reach stderr: records and warnings of libraries, and exceptions that nobody caught.

    For programs only: it changes the hooks of the whole interpreter.
    """
    logging.root.handlers[:] = [_LibraryRecords()]
    logging.root.setLevel(logging.WARNING)
    warnings.showwarning = _tell_warning
    sys.excepthook = _tell_uncaught
    sys.unraisablehook = lambda lost: _PROCESS.error("unexpected_error", error=lost.exc_value)
    threading.excepthook = _tell_lost_thread


# --- writing --------------------------------------------------------------------------------------------------------


class _Stderr:
    """Whatever stderr is when a line is written: a test or a daemon may have put another in its place."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()


def _logger(stream: TextIO | _Stderr, *, for_people: bool) -> Any:
    lazy = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", stream)),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.dev.ConsoleRenderer(timestamp_key="time") if for_people else _to_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        # Their place in the line; the processors fill them.
        time="",
        level="",
        event="",
    )
    # Bound once: the lazy one is made anew for each line.
    return lazy.bind()


def _to_json(_logger: Any, _method: str, line: structlog.typing.EventDict) -> str:
    return orjson.dumps(line).decode()


class _Out:
    """Where lines go: until `configure` was called, warnings go to stderr."""

    __slots__ = ("logger", "threshold")

    def __init__(self) -> None:
        self.threshold = _NUMBERS["warning"]
        self.logger = _logger(_Stderr(), for_people=False)


_OUT: Final = _Out()
_PROCESS: Final = bind()


def _write(level: int, event: str, fields: dict[str, Any]) -> None:
    line: dict[str, Any] = {}
    withheld = 0
    for name, value in fields.items():
        if name in FIELDS and _fits(value):
            line[name] = value
        elif name in FIELDS and isinstance(value, BaseException):
            line.update(told(value))
        else:
            withheld += 1
    try:
        if event in EVENTS:
            _OUT.logger.log(level, event, **line)
        if withheld or event not in EVENTS:
            _OUT.logger.error("log_withheld", count=withheld, place=_author())
    except (OSError, ValueError):
        # Nobody reads stderr any more (closed, broken pipe, full disk): that must not stop a request.
        return


def _fits(value: object) -> bool:
    """Whether it looks like an id, a code or a number, and like no name and no person's number."""
    if isinstance(value, str):
        return (
            len(value) <= _LONGEST
            and value.isascii()
            and value.isprintable()
            and " " not in value
            and not (len(value) > 8 and value.isdigit())
        )
    return value is None or isinstance(value, int | float)


def _author() -> str:
    """The line of code that called a `Log`."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return "" if frame is None else _place(frame.f_code.co_filename, frame.f_lineno)


# --- exceptions and libraries ---------------------------------------------------------------------------------------

#: The folder that holds `bus`, and the folders of installed packages: places are told from there.
_ROOTS: Final = tuple(sorted({str(Path(__file__).parents[1]), *filter(None, sys.path)}, key=len, reverse=True))


def told(error: BaseException) -> dict[str, Any]:
    """What a line says of an exception: class, code, where it came through (outermost first), and its causes."""
    line: dict[str, Any] = {"error": _name(error)}
    if code := _code(error):
        line["error_code"] = code
    if places := _places(error.__traceback__):
        line["error_at"] = places
    if causes := [":".join(filter(None, (_name(cause), _code(cause)))) for cause in _causes(error)]:
        line["error_cause"] = causes
    return line


def _name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _code(error: BaseException) -> str:
    """Our own code, the name of the system's error number, or SQLite's name for it; never a text."""
    if isinstance(error, BusError):
        return error.code if _fits(error.code) else ""
    if isinstance(error, OSError):
        return errno.errorcode.get(error.errno or 0, "")
    name = getattr(error, "sqlite_errorname", "")
    return name if isinstance(name, str) and _fits(name) else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}
    while True:
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None or id(cause) in seen:
            return
        seen.add(id(cause))
        yield cause
        error = cause


def _places(trace: TracebackType | None) -> list[str]:
    places = [_place(frame.f_code.co_filename, number) for frame, number in traceback.walk_tb(trace)]
    return places[-_MOST_PLACES:]


def _place(file: str, number: int) -> str:
    root = next((root for root in _ROOTS if file.startswith(f"{root}/")), "")
    return f"{file.removeprefix(root).lstrip('/') if root else file}:{number}".replace(" ", "_")


class _LibraryRecords(logging.Handler):
    """Tells who logged and where; the text of a library may quote anything."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        place = _place(record.pathname, record.lineno)
        _PROCESS.warning("library_warned", logger=record.name, place=place, error=error)


def _tell_warning(
    message: Warning | str,  # noqa: ARG001  # never told
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    _PROCESS.warning("library_warned", logger=category.__name__, place=_place(filename, lineno))


def _tell_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _PROCESS.error("unexpected_error", error=error)


def _tell_lost_thread(lost: threading.ExceptHookArgs) -> None:
    if not issubclass(lost.exc_type, SystemExit):
        _PROCESS.error("unexpected_error", error=lost.exc_value)
