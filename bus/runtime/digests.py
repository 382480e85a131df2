"""What facts tell of the messages of a batch: their salted digests."""

from __future__ import annotations

from collections.abc import Mapping

from bus.audit.fact import salted_digest


class Digests:
    """Each is made where its message is at hand, and wanted where the facts are sealed.

    An object of its own: were it the batch that is handed to those who make messages, batch and they would refer to
    each other, and all records of a batch would stay in memory until the garbage collector looked.
    """

    def __init__(self, secret: bytes) -> None:
        """``secret`` is that of the installation."""
        self._secret = secret
        self._known: dict[str, str] = {}

    def note(self, message: str, body: bytes) -> None:
        """Make that of the message with this id."""
        self._known[message] = salted_digest(self._secret, message, body)

    @property
    def known(self) -> Mapping[str, str]:
        """By message id."""
        return self._known
