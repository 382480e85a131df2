"""One HTTP answer as the journal keeps it, byte for byte, and as text. Pure.

What is kept is one line of our own, then status line, headers and body as they came::

    asked ABCDEFGHIJKLMNOP whole
    HTTP/1.1 200 OK
    Content-Type: text/xml; charset=utf-8

    <?xml ...

The first line names the reference that was asked for, and whether the body came whole or was cut.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, parse_headers

from bus.record import InvalidMessageError

from .service import fault

#: Encodings that an answer may declare, and Python's names for them.
ENCODINGS = {
    "utf-8": "utf-8",
    "us-ascii": "ascii",
    "utf-16": "utf-16",
    "windows-1256": "cp1256",
    "cp1256": "cp1256",
    "iso-8859-6": "iso8859_6",
}
_FIRST_LINE = re.compile(rb"asked ([0-9A-Za-z-]{1,20}) (whole|cut)\r\nHTTP/1\.[01] ([0-9]{3})[^\r\n]*\r\n")
_DECLARATION = re.compile(rb"""\s*<\?xml[^>]{0,100}?\sencoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']""")
_WRITTEN_DECLARATION = re.compile(r"\A\s*<\?xml\s[^>]*\?>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back over HTTP."""

    #: The reference that was asked for; what the answer itself says is in its body.
    reference: str
    status: int
    headers: Message
    body: bytes
    #: The connection ended in the middle of the body.
    is_cut: bool

    @property
    def retry_after(self) -> int | None:
        """Seconds of the header Retry-After; None if it says nothing, or names a moment."""
        written = str(self.headers.get("Retry-After", ""))
        return int(written) if re.fullmatch("[0-9]{1,7}", written, re.ASCII) else None


def pack(
    *, reference: str, status: int, reason: str, headers: Sequence[tuple[str, str]], body: bytes, is_cut: bool
) -> bytes:
    """The bytes to keep."""
    lines = [f"asked {reference} {'cut' if is_cut else 'whole'}", f"HTTP/1.1 {status} {reason}".rstrip()]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("iso-8859-1", errors="replace") + b"\r\n\r\n" + body


def unpack(raw: bytes) -> Answer:
    """What was kept; an InvalidMessageError if these are not such bytes."""
    head = _FIRST_LINE.match(raw)
    if head is None:
        raise fault("not-an-answer", "this is no HTTP answer of the authority as the adapter keeps it.")
    rest = io.BytesIO(raw[head.end() :])
    try:
        headers = parse_headers(rest)
    except HTTPException as error:
        raise fault("bad-headers", f"the headers cannot be read: {type(error).__name__}.") from error
    return Answer(
        reference=head[1].decode("ascii"),
        status=int(head[3]),
        headers=headers,
        body=rest.read(),
        is_cut=head[2] == b"cut",
    )


def text_of(answer: Answer, read_as: str | None) -> str:
    """The body as text without its XML declaration, in the encoding that it declares.

    Where the bytes break that encoding, ``read_as`` is tried, if it is given. It is never tried first: as soon as the
    agency has mended its system, the same setting would spoil every letter. An InvalidMessageError names the first
    bad byte, counted from the start of the body.
    """
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise fault("compressed", "the body is compressed, which was not asked for.")
    if answer.is_cut:
        raise fault("cut", f"the answer was cut after byte {len(answer.body)} of its body.")
    declared = _declared(answer)
    if declared not in ENCODINGS:
        raise fault("unknown-encoding", "the answer declares an encoding that this adapter does not read.")
    try:
        text = _decoded(answer.body, declared)
    except InvalidMessageError:
        if read_as is None:
            raise
        text = _decoded(answer.body, read_as)
    # Blanks keep line and column of everything behind.
    return _WRITTEN_DECLARATION.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text.removeprefix("\ufeff"))


def _declared(answer: Answer) -> str:
    """A byte order mark goes before the header, and the header before the document."""
    if answer.body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if answer.body.startswith(codecs.BOM_UTF8):
        return "utf-8"
    if charset := answer.headers.get_content_charset():
        return charset
    found = _DECLARATION.match(answer.body)
    return found[1].decode("ascii").lower() if found else "utf-8"


def _decoded(body: bytes, encoding: str) -> str:
    try:
        return body.decode(ENCODINGS[encoding])
    except UnicodeDecodeError as error:
        byte = body[error.start]
        raise fault(
            "wrong-encoding",
            f"byte {error.start} of the body (0x{byte:02X}) cannot stand in {encoding} text.",
            "If the agency writes another encoding than it declares, name it in the setting read_as, restart the host"
            " and replay: the kept answer is read again.",
        ) from error
