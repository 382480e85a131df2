"""Names that follow from what they name: the same submission, interaction or attempt always has the same id."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from base64 import b32encode
from functools import lru_cache
from uuid import UUID

from stdnum import luhn

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1"})
_TRACKING_BITS = 50
_TRACKING_SIGNS = 10


def request_id(secret: bytes, consumer: str, submission_key: str) -> str:
    """The request that a consumer's submission is, as a UUIDv8: the same submission gives it again after a restore.

    It is an HMAC-SHA-256 under the secret of the installation, so that it tells nothing about the submission key.
    """
    bits = int.from_bytes(_hmac(secret, "request", consumer, submission_key)[:16], "big")
    bits = bits & ~(0xF << 76) | 8 << 76  # version 8: the meaning of the bits is ours
    bits = bits & ~(0x3 << 62) | 0x2 << 62  # the variant of RFC 9562
    return str(UUID(int=bits))


def tracking(secret: bytes, request_id: str, n: int = 0) -> str:
    """The code by which people follow a request, ``7K4M9-Q2XHT-A``; raise ``n`` when the code is taken.

    50 bits of HMAC-SHA-256 as ten Crockford base-32 signs, then a check sign (Luhn modulo 32): it can be read over the
    phone, a slip is noticed, and nobody can guess another one's code from his own.
    """
    digest = _hmac(secret, "tracking", request_id, str(n))
    bits = int.from_bytes(digest[:8], "big") >> (64 - _TRACKING_BITS)
    signs = "".join(CROCKFORD[bits >> shift & 31] for shift in range(_TRACKING_BITS - 5, -1, -5))
    return _shown(signs + luhn.calc_check_digit(signs, alphabet=CROCKFORD))


def parse_tracking(text: str) -> str:
    """The canonical form of a code as somebody wrote it; a ValueError that tells the mend if it is none.

    Read in any case, with O for 0 and I or L for 1, with the digits of any script (``٧`` is 7); blanks, hyphens and
    invisible direction marks do not count.
    """
    signs = "".join(_sign(character) for character in text).upper().translate(_READ_AS)
    if len(signs) != _TRACKING_SIGNS + 1:
        raise ValueError(f"A tracking code has {_TRACKING_SIGNS + 1} signs, here are {len(signs)}: copy all of them.")
    if not set(signs) <= set(CROCKFORD):
        raise ValueError("A tracking code has digits and letters other than U only: compare it with the receipt.")
    if not luhn.is_valid(signs, alphabet=CROCKFORD):
        raise ValueError("The check sign does not fit: one sign is wrong or two are swapped; read the code again.")
    return _shown(signs)


def interaction_id(request_id: str, step: str, item: int | None, kind: str, edit: int) -> str:
    """One wanted effect: UUIDv5 of ``step/item/kind/edit`` in the request; ``item`` is empty for a single step."""
    return _uuid5(request_id, f"{step}/{'' if item is None else item}/{kind}/{edit}")


# The same few are asked for again with every message of a request.
@lru_cache(maxsize=4_096)
def _uuid5(namespace: str, name: str) -> str:
    """UUIDv5 as text, from text: `uuid.uuid5` without its values in between, at a third of the price."""
    digest = hashlib.sha1(bytes.fromhex(namespace.replace("-", "")) + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def message_id(interaction_id: str, attempt: int, type: str) -> str:
    """A message of the bus about an interaction: UUIDv5 of ``attempt/type``; a resend has the same id."""
    return _uuid5(interaction_id, f"{attempt}/{type}")


def reference(interaction_id: str) -> str:
    """The short form of an interaction id for legacy fields and file names: 16 signs of ``A-Z2-7``.

    80 bits of SHA-256 over the id's bytes: among a thousand million interactions two share one with a chance below one
    in a million, and the signs survive upper-casing, EBCDIC and every file system.
    """
    return b32encode(hashlib.sha256(UUID(interaction_id).bytes).digest()[:10]).decode()


def subject(secret: bytes, value: str) -> str:
    """The pseudonym of a person's identifier for envelopes: 32 signs of ``A-Z2-7``, the same for the same person.

    160 bits of HMAC-SHA-256 under the secret of the installation: without it nobody can try all national numbers.
    """
    return b32encode(_hmac(secret, "subject", value)[:20]).decode()


def _hmac(secret: bytes, *parts: str) -> bytes:
    # Each part is preceded by its length, so that ("ab", "c") and ("a", "bc") differ; the first part names the use.
    encoded = [part.encode() for part in parts]
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
    return hmac.digest(secret, framed, "sha256")


def _sign(character: str) -> str:
    if character.isspace() or unicodedata.category(character) in {"Pd", "Cf"}:
        return ""
    digit = unicodedata.decimal(character, None)
    return character if digit is None else str(digit)


def _shown(signs: str) -> str:
    return f"{signs[:5]}-{signs[5:10]}-{signs[10:]}"
