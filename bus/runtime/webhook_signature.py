"""Signatures of webhooks as Standard Webhooks 1.0 has them (standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
#: What the standard allows as the length of a secret.
_LEAST, _MOST = 24, 64


def secret_of(text: str) -> bytes:
    """The key that ``whsec_`` and base64 write; a ValueError that says what is wrong and never quotes the text."""
    if not text.startswith(PREFIX):
        raise ValueError(f"The webhook's secret does not begin with {PREFIX}.")
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"What follows {PREFIX} is not base64.") from None
    if not _LEAST <= len(secret) <= _MOST:
        raise ValueError(f"The webhook's secret has {len(secret)} bytes; the standard wants {_LEAST} to {_MOST}.")
    return secret


def signed_headers(secret: bytes, *, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a message; ``timestamp`` in seconds since the epoch, of this attempt."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{signature}"}
