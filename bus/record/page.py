"""Single-byte code pages, strict both ways: no letter is guessed, replaced or lost."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from bus.errors import Fault, InvalidMessageError
from bus.record.cell import broken

#: Arabic marks that belong to names and sentences: tatweel, comma, semicolon, question mark, quotation marks.
_ARABIC_MARKS = frozenset("ـ،؛؟«»")
_LETTER_KINDS = frozenset({"Ll", "Lu", "Lo", "Mn", "Nd"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CodePage:
    """A code page of one byte a letter, cut down to the letters that written names may hold.

    Invisible controls (line ends, direction marks, joiners) and typographic signs are left out on purpose: in a
    name they are the tracks of a text that was read in the wrong code page.
    """

    #: Python's name of the codec: ``cp1256``.
    codec: str
    letters: frozenset[str]

    def decode(self, data: bytes, *, offset: int = 0) -> str:
        """The text in NFC; an InvalidMessageError naming the first bad byte, counted from ``offset``."""
        if (start := _start_of_utf8(data)) is not None:
            raise broken(
                "text-is-utf-8",
                f"byte {offset + start} (0x{data[start]:02X}): the text is UTF-8, not {self.codec}.",
                "Ask the agency which code page this column has.",
            )
        for position, byte in enumerate(data):
            letter = bytes([byte]).decode(self.codec, errors="replace")
            if letter not in self.letters:
                raise broken(
                    "byte-not-in-page",
                    f"byte {offset + position} (0x{byte:02X}): {_name_of(letter)} cannot stand in {self.codec} text.",
                    "Ask the agency which code page this column has.",
                )
        return unicodedata.normalize("NFC", data.decode(self.codec))

    def encode(self, text: str) -> bytes:
        """The bytes of the text in NFC; an InvalidMessageError naming each letter that the page does not have."""
        normal = unicodedata.normalize("NFC", text)
        foreign = {letter: position for position, letter in reversed(list(enumerate(normal, start=1)))}
        faults = tuple(
            Fault(
                code="letter-not-in-page",
                message=f"letter {position} is {_name_of(letter)}, which {self.codec} does not have.",
                mend="Write it with letters that the agency's system has.",
            )
            for letter, position in sorted(foreign.items(), key=lambda item: item[1])
            if letter not in self.letters
        )
        if faults:
            raise InvalidMessageError(faults)
        data = normal.encode(self.codec)
        if _start_of_utf8(data) is not None:
            raise broken("text-is-ambiguous", f"in {self.codec} the text has the bytes of another text in UTF-8.")
        return data


def code_page(codec: str) -> CodePage:
    """The page of a Python codec, with its letters, digits, vowel signs, ASCII marks and Arabic marks."""
    letters = (bytes([byte]).decode(codec, errors="replace") for byte in range(256))
    return CodePage(codec=codec, letters=frozenset(letter for letter in letters if _is_written(letter)))


def _is_written(letter: str) -> bool:
    if len(letter) != 1 or letter == "\N{REPLACEMENT CHARACTER}":
        return False
    if letter.isascii():
        return letter.isprintable()
    return letter in _ARABIC_MARKS or unicodedata.category(letter) in _LETTER_KINDS


def _start_of_utf8(data: bytes) -> int | None:
    """Where the first letter of more than one byte stands, if the data is UTF-8 and holds one.

    Every byte of cp1256 means some letter, so UTF-8 in such a column decodes to nonsense without any error. Arabic
    written in a single-byte page is never well-formed UTF-8, save for a few odd pairs that encode() refuses.
    """
    if data.isascii():
        return None
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return next(position for position, byte in enumerate(data) if byte > 0x7F)


def _name_of(letter: str) -> str:
    return f"U+{ord(letter[:1]):04X} {unicodedata.name(letter[:1], '(a control)')}"


ASCII = code_page("ascii")
#: Arabic Windows, in logical order.
CP1256 = code_page("cp1256")
