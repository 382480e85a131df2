"""Webhooks: the feed of a consumer, brought to it message by message until it says that it has each."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import orjson

from bus.config import Settings
from bus.logs import bind
from bus.message.instant import SECOND, Milliseconds
from bus.message.key import Keys
from bus.ports import FailureRow, ResultRow, Store
from bus.runtime.turn import Turn
from bus.runtime.webhook_signature import signed_headers

#: So many failures in a row are shown to those who run the bus.
TOLD_AFTER = 10
FAILING, GONE = "webhook_failing", "webhook_gone"
_HTTP_GONE = 410
_PAGE = 200

_log = bind(role="webhook")


def web(timeout: Milliseconds) -> httpx.Client:
    """A client that follows nobody elsewhere: what is signed for one address is sent to no other.

    What is not enciphered stays on this machine, also where ``HTTP_PROXY`` names another way out.
    """
    return httpx.Client(
        timeout=timeout / SECOND,
        follow_redirects=False,
        headers={"User-Agent": "bus"},
        mounts={"http://": httpx.HTTPTransport()},
    )


class Webhook:
    """One consumer's: in order, one message under way, at least once. Others have theirs and never wait for it."""

    def __init__(
        self,
        *,
        consumer: str,
        url: str,
        secret: bytes,
        store: Store,
        keys: Keys,
        settings: Settings,
        turn: Turn | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``turn``: where other processes bring the same feed, one at a time does."""
        self._consumer = consumer
        self._url = url
        self._secret = secret
        self._store = store
        self._keys = keys
        self._settings = settings
        self._turn = turn
        self._monotonic = monotonic
        self._client = web(settings.webhook_timeout)
        #: Failures in a row.
        self._failed = 0
        self._next_at = 0.0
        self._gone = False
        #: Code -> key of the open failure that an earlier process or this one showed; None before the first look.
        self._shown: dict[str, int] | None = None

    def step(self) -> bool:
        """Bring one message, if there is one and it is time; whether another one may be brought at once."""
        if self._gone or self._monotonic() < self._next_at:
            return False
        rows = self._store.uncollected(self._consumer, most=1)
        if rows and self._turn is not None:
            # Read again: whoever had the turn before may have brought it.
            rows = self._store.uncollected(self._consumer, most=1) if self._turn.is_mine() else ()
        if not rows:
            return False
        ((row, body),) = rows
        return self._settle(row, *self._send(row, body))

    def close(self) -> None:
        """Let go of the connection, and let another process go on."""
        self._client.close()
        if self._turn is not None:
            self._turn.end()

    def _send(self, row: ResultRow, body: bytes) -> tuple[int, str]:
        """The status of the answer, or 0 and the kind of trouble. The answer's body is not read."""
        message_id = str(orjson.loads(body)["id"])
        headers = {
            "Content-Type": "application/cloudevents+json",
            "Bus-Cursor": str(row.key),
            **signed_headers(self._secret, message_id=message_id, timestamp=self._store.now() // SECOND, body=body),
        }
        try:
            with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                return answer.status_code, ""
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return 0, type(error).__name__

    def _settle(self, row: ResultRow, status: int, trouble: str) -> bool:
        if httpx.codes.is_success(status):
            self._store.collect(self._consumer, [row.key])
            self._works()
            return True
        self._failed += 1
        _log.warning("webhook_refused", consumer=self._consumer, status=status, cause=trouble, count=self._failed)
        if status == _HTTP_GONE:
            self._gone = True
            self._close(FAILING, "the webhook is gone")
            self._show(GONE)
        elif self._failed >= TOLD_AFTER:
            self._show(FAILING)
        wait = self._settings.webhook_first << min(self._failed - 1, 30)
        self._next_at = self._monotonic() + min(wait, self._settings.webhook_most) / SECOND
        return False

    def _works(self) -> None:
        self._failed, self._next_at = 0, 0.0
        self._close(FAILING, "the webhook works again")
        self._close(GONE, "the webhook works again")

    def _close(self, code: str, how: str) -> None:
        key = self._open_failures().pop(code, None)
        if key is not None and self._store.close_failure(key, how):
            _log.info("failure_closed", key=key, consumer=self._consumer, code=code)

    def _show(self, code: str) -> None:
        """One failure for those who run the bus, however long it lasts; anew where somebody closed it meanwhile."""
        self._shown = None
        if code in self._open_failures():
            return
        failure = FailureRow.of_no_request(
            key=self._keys.next(), code=code, at=self._store.now(), agency=self._consumer
        )
        key = self._store.note_failure(failure, None)
        self._open_failures()[code] = key
        _log.warning("failure_opened", key=key, agency=self._consumer, code=code)

    def _open_failures(self) -> dict[str, int]:
        """What is shown of this webhook, also by an earlier process."""
        if self._shown is None:
            codes = {FailureRow.cause_of(code, self._consumer): code for code in (FAILING, GONE)}
            shown, after = dict[str, int](), 0
            while page := self._store.failures(is_open=True, after=after, most=_PAGE):
                shown |= {codes[failure.cause]: failure.key for failure in page if failure.cause in codes}
                after = page[-1].key
            self._shown = shown
        return self._shown
