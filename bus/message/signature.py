"""The place of a message's signature: a header beside the body, never inside it, so that the bytes stay the evidence.

The signature is to be one Ed25519 JWS over the root of a Merkle tree of the exact bodies of one publish batch, with the
message's own path; a single message is a tree of one. Nothing signs or verifies yet: an absent header means unsigned.
"""

from __future__ import annotations

from typing import TypeAlias

#: The name of the transport header that carries the signature; headers repeat nothing that the body says.
HEADER = "signature"

#: The compact text of the header, or None for an unsigned message.
Signature: TypeAlias = str | None
