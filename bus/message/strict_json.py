"""JSON that means the same to everybody (I-JSON, RFC 7493), refused otherwise, both when read and when written."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import orjson
import rfc8785

from bus.errors import Fault, InvalidMessageError

#: The longest text, in bytes; documents that are longer do not travel inside a message.
MOST_BYTES = 256 * 1024
#: The deepest nesting of arrays and objects: ``[]`` is one deep.
MOST_DEPTH = 64
#: The greatest whole number that every reader keeps exact.
MOST_INTEGER = 2**53 - 1
#: No more faults than this are named for one text.
MOST_FAULTS = 100

T = TypeVar("T")
Path = tuple[str | int, ...]

# A whole number spelled as a fraction, as it ends in compact JSON.
_WHOLE_FRACTION = re.compile(rb"\.0(?:[,\]}]|\Z)")
_WRITING = orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME

_NONCHARACTERS = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_BAD_CHARACTER = re.compile(f"[\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}]")
# What a program calls a member. Any other key may be somebody's name or number.
_MEMBER_NAME = re.compile(r"(?!.*[0-9]{5})[A-Za-z_$@][A-Za-z0-9_.$@-]{0,63}", re.ASCII)


class _Flaw(NamedTuple):
    """A part of a text that JSON can spell and I-JSON refuses."""

    code: str
    message: str
    mend: str


class _Members(list[tuple[str, Any]]):
    """The members of an object as they were written, duplicates included."""


_NOT_A_NUMBER = _Flaw("not-a-number", "NaN and Infinity are not JSON.", "Leave the member out or send a number.")
_TOO_LARGE_NUMBER = _Flaw("number-too-large", "A number lies beyond 2^53 - 1.", "Send it as a string of digits.")
_TOO_SMALL_NUMBER = _Flaw("number-too-small", "A number is not zero but would be read as zero.", "Send it as a string.")
_DUPLICATE = _Flaw("duplicate-key", "An object has this member twice.", "Keep one of them.")
_BAD_TEXT = _Flaw("bad-character", "A text holds a lone surrogate or a noncharacter.", "Send valid Unicode text.")
_TOO_DEEP = _Flaw("too-deep", f"Nested deeper than {MOST_DEPTH} levels.", "Send a flatter document.")
_NOT_JSON = _Flaw("not-json", "A value of this kind has no JSON form.", "Use text, numbers, lists and mappings only.")


def parse(raw: bytes) -> Any:
    """The value of a JSON text; an InvalidMessageError with every fault that can be named and the text in ``raw``.

    A whole number is an ``int`` however it is spelled (``1.0``, ``10e2``, ``-0``), so that one value has one form.
    Refused: over `MOST_BYTES`, no UTF-8, a byte order mark, duplicate members, NaN, numbers beyond 2^53 - 1 or too
    small to be told from zero, lone surrogates and noncharacters, nesting over `MOST_DEPTH`.
    """
    try:
        value = orjson.loads(raw) if len(raw) <= MOST_BYTES else None
        # Writing the value gives the very same bytes only if no member was dropped as a duplicate.
        compact = orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER) == raw
        if compact and not _is_doubtful(raw) and not _is_too_deep(raw, value):
            return value
    except (orjson.JSONDecodeError, TypeError):
        pass
    return _parse_with_care(raw)


def canonical(value: Any) -> bytes:
    """The one canonical form of a value (RFC 8785), for digests; an InvalidMessageError for what `parse` refuses."""
    try:
        raw = orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER | orjson.OPT_SORT_KEYS) if _is_simple(value) else b""
        if raw and not _is_doubtful(raw):
            return raw
    except TypeError:
        pass  # a lone surrogate or a great number, which is named below
    faults: list[Fault] = []
    plain = _build(value, (), faults)
    if faults:
        raise InvalidMessageError(tuple(faults[:MOST_FAULTS]))
    return rfc8785.dumps(plain)


def _is_simple(value: Any, depth: int = MOST_DEPTH) -> bool:
    """Whether sorted compact JSON is the canonical form: plain types, names in ASCII, no fractions."""
    kind = type(value)
    if kind is dict:
        names = depth > 0 and all(type(name) is str and name.isascii() for name in value)
        return names and all(_is_simple(member, depth - 1) for member in value.values())
    if kind is list:
        return depth > 0 and all(_is_simple(item, depth - 1) for item in value)
    return kind is str or kind is int or kind is bool or value is None


def dump(value: Any) -> bytes:
    """The value as compact UTF-8 JSON; an InvalidMessageError for everything that `parse` would refuse."""
    try:
        raw = orjson.dumps(value, default=_plain, option=_WRITING)
    except TypeError:
        raw = b""
    # orjson writes NaN and the infinities as null.
    sound = 0 < len(raw) <= MOST_BYTES and b"null" not in raw and not _is_doubtful(raw)
    if sound and not _is_too_deep(raw, value):
        return raw
    faults: list[Fault] = []
    _build(value, (), faults)
    if len(raw) > MOST_BYTES:
        faults.append(_too_large(raw))
    if not raw and not faults:
        faults.append(_fault(_NOT_JSON, ()))
    if faults:
        raise InvalidMessageError(tuple(faults[:MOST_FAULTS]))
    return raw


def nfc(value: T) -> T:
    """The same value with every text, member names included, in Unicode normal form C."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)  # type: ignore[return-value]
    if isinstance(value, Mapping):
        return {nfc(key): nfc(member) for key, member in value.items()}  # type: ignore[return-value]
    if isinstance(value, list | tuple):
        return [nfc(item) for item in value]  # type: ignore[return-value]
    return value


def not_nfc(value: Any, path: Path = ()) -> Iterable[Path]:
    """The paths of the texts, member names included, that are not in Unicode normal form C."""
    if isinstance(value, str):
        if not unicodedata.is_normalized("NFC", value):
            yield path
    elif isinstance(value, Mapping):
        for key, member in value.items():
            if not unicodedata.is_normalized("NFC", key):
                yield (*path, key)
            yield from not_nfc(member, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from not_nfc(item, (*path, index))


def pointer_to(path: Iterable[str | int]) -> str:
    """The RFC 6901 pointer of a path."""
    return "".join(f"/{_escaped(str(part))}" for part in path)


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def field_pointers(data: Mapping[str, Any], above: str = "") -> tuple[str, ...]:
    """JSON pointers to the members of ``data`` that hold no further object: what facts name, never the values."""
    found: list[str] = []
    for name, value in data.items():
        here = f"{above}/{_escaped(name)}"
        # Texts are the most, and the question whether one is a mapping is a slow one.
        if isinstance(value, str) or not isinstance(value, Mapping):
            found.append(here)
        else:
            found += field_pointers(value, here)
    return tuple(found)


def shown_pointer(path: Iterable[str | int], known: Collection[str] = ()) -> str:
    """The pointer of a path into a received value, fit for logs: a key that may be personal data is shown as ``*``.

    Shown are the names in ``known`` (those that a contract declares) and what looks like a name in a program.
    """
    return pointer_to(part if isinstance(part, int) or part in known or _looks_named(part) else "*" for part in path)


def _looks_named(key: str) -> bool:
    return _MEMBER_NAME.fullmatch(key) is not None


def _is_doubtful(raw: bytes) -> bool:
    """Whether compact JSON needs a second look: it may hold a noncharacter, a great number or a fraction like 1.0."""
    # Single bytes are found fastest: every noncharacter holds one of the first two in UTF-8, and Arabic hardly does.
    if b"\xef" in raw or b"\xbf" in raw or (b"+" in raw and b"e+" in raw):
        return True
    return b".0" in raw and _WHOLE_FRACTION.search(raw) is not None


def _is_too_deep(raw: bytes, value: Any) -> bool:
    if raw.count(b"[") + raw.count(b"{") <= MOST_DEPTH:
        return False
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [child for node in level for child in _containers(node)]
    return bool(level)


def _containers(node: Any) -> Iterable[Any]:
    children = node.values() if isinstance(node, Mapping) else node
    return [child for child in children if isinstance(child, Mapping | list | tuple)]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def _parse_with_care(raw: bytes) -> Any:
    if len(raw) > MOST_BYTES:
        raise InvalidMessageError((_too_large(raw),), raw=raw)
    try:
        node = _DECODER.decode(_decode_utf8(raw))
    except json.JSONDecodeError as error:
        at = len(error.doc[: error.pos].encode())
        fault = Fault(code="not-json", message=f"Not JSON at byte {at}: {error.msg}.", mend="Send one JSON text.")
        raise InvalidMessageError((fault,), raw=raw) from None
    except RecursionError:
        raise InvalidMessageError((_fault(_TOO_DEEP, ()),), raw=raw) from None
    faults: list[Fault] = []
    value = _build(node, (), faults)
    if faults:
        raise InvalidMessageError(tuple(faults[:MOST_FAULTS]), raw=raw)
    return value


def _decode_utf8(raw: bytes) -> str:
    if raw.startswith(b"\xef\xbb\xbf"):
        fault = Fault(code="byte-order-mark", message="A byte order mark at byte 0.", mend="Send UTF-8 without it.")
        raise InvalidMessageError((fault,), raw=raw)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        fault = Fault(code="not-utf8", message=f"Not UTF-8 at byte {error.start}.", mend="Encode the text as UTF-8.")
        raise InvalidMessageError((fault,), raw=raw) from None


def _too_large(raw: bytes) -> Fault:
    message = f"{len(raw)} bytes, and at most {MOST_BYTES} are taken; the first beyond is byte {MOST_BYTES}."
    return Fault(code="too-large", message=message, mend="Send documents apart and refer to them.")


def _number(text: str) -> int | float | _Flaw:
    number = float(text)
    if abs(number) > MOST_INTEGER:
        return _TOO_LARGE_NUMBER
    if number == 0 and re.search("[1-9]", re.split("[eE]", text)[0]):
        return _TOO_SMALL_NUMBER
    return int(number) if number.is_integer() else number


def _constant(_: str) -> _Flaw:
    return _NOT_A_NUMBER


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Members, parse_int=_number, parse_float=_number, parse_constant=_constant
)


def _build(node: Any, path: Path, faults: list[Fault]) -> Any:
    """The plain value of a node; what I-JSON refuses is added to the faults."""
    if isinstance(node, _Flaw):
        faults.append(_fault(node, path))
    elif isinstance(node, str):
        if _BAD_CHARACTER.search(node):
            faults.append(_fault(_BAD_TEXT, path))
    elif node is None or isinstance(node, int | float):
        flaw = _flaw_of_number(node)
        if flaw:
            faults.append(_fault(flaw, path))
    elif not isinstance(node, Mapping | list | tuple):
        faults.append(_fault(_NOT_JSON, path))
    elif len(path) >= MOST_DEPTH:
        faults.append(_fault(_TOO_DEEP, path))
    elif isinstance(node, _Members | Mapping):
        return _build_object(node if isinstance(node, _Members) else node.items(), path, faults)
    else:
        return [_build(item, (*path, index), faults) for index, item in enumerate(node)]
    return node


def _build_object(members: Iterable[tuple[Any, Any]], path: Path, faults: list[Fault]) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key, member in members:
        here = (*path, str(key))
        if not isinstance(key, str):
            faults.append(_fault(_NOT_JSON, here))
        elif _BAD_CHARACTER.search(key):
            faults.append(_fault(_BAD_TEXT, here))
        if key in built:
            faults.append(_fault(_DUPLICATE, here))
        built[key] = _build(member, here, faults)
    return built


def _flaw_of_number(number: float | None) -> _Flaw | None:
    if number is None or abs(number) <= MOST_INTEGER:
        return None
    # NaN is neither within nor beyond.
    return _TOO_LARGE_NUMBER if abs(number) < float("inf") else _NOT_A_NUMBER


def _fault(flaw: _Flaw, path: Path) -> Fault:
    return Fault(code=flaw.code, message=flaw.message, mend=flaw.mend, pointer=shown_pointer(path))
