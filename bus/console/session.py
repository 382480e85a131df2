"""Who is signed in: a signed cookie that holds no token, and the secret of his forms."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from bus.message.instant import HOUR, MINUTE, SECOND, Instant, Milliseconds

#: A session ends after so long without a page, and after so long in any case.
IDLE: Milliseconds = 30 * MINUTE
LONGEST: Milliseconds = 10 * HOUR
#: The cookie is written anew no more often than this.
REFRESHED: Milliseconds = 60 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One sign-in of one clerk in one browser."""

    #: SHA-256 of his token: enough to find him, useless as a token.
    token_hash: str
    #: Drawn at random at sign-in; his forms are bound to it.
    nonce: str
    #: For whom an administrator works; None before he has chosen, and for clerks, whose token says it.
    agency: str | None
    started: Instant
    seen: Instant

    def is_alive(self, now: Instant) -> bool:
        """Whether it was used lately enough and is not too old."""
        return now - self.seen < IDLE and now - self.started < LONGEST


class Seal:
    """Signs and reads what browsers keep, under keys that follow from the installation's secret."""

    def __init__(self, secret: bytes) -> None:
        self._sessions = URLSafeSerializer(
            _key(secret, "session"), salt="session", signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._forms = _key(secret, "form")
        # Only this process knows who signed out here; elsewhere a copy of such a cookie counts until `IDLE` has passed
        # without use, or `LONGEST` in any case.
        self._ended: dict[str, Instant] = {}

    def cookie(self, session: Session) -> str:
        """The session as the browser keeps it."""
        return str(self._sessions.dumps(asdict(session)))

    def session(self, cookie: str | None) -> Session | None:
        """The session of a cookie, alive or not; None for one that is not ours or was signed out."""
        if not cookie:
            return None
        try:
            content: Mapping[str, Any] = self._sessions.loads(cookie)
            session = Session(**content)
        except (BadData, TypeError):
            return None
        return None if session.nonce in self._ended else session

    def end(self, session: Session, now: Instant) -> None:
        """Sign out: the cookie counts no more."""
        self._ended = {nonce: until for nonce, until in self._ended.items() if until > now}
        self._ended[session.nonce] = session.started + LONGEST

    def form_token(self, nonce: str) -> str:
        """What a form must carry to be one that we gave to this session."""
        return hmac.new(self._forms, nonce.encode(), "sha256").hexdigest()

    def is_own_form(self, nonce: str, token: str) -> bool:
        """Whether a form carries the token of this session."""
        return hmac.compare_digest(self.form_token(nonce).encode(), token.encode())


def _key(secret: bytes, use: str) -> bytes:
    return hmac.digest(secret, f"console {use} v1".encode(), "sha256")
