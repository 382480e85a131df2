"""A store that was restored knows less than happened: it asks, and lets nothing else leave until a person opens it.

The journals of the agencies' hosts know what was done. So each open interaction is looked up; what was accepted or
sent after the backup shows itself by replies to requests that the store does not know. New submissions are refused
meanwhile: one that was accepted after the backup would look new, and a desk keeps no journal that could tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bus.config import Settings
from bus.errors import ConflictError, TransientError
from bus.message.envelope import MessageType
from bus.message.instant import Instant
from bus.ports import Act, Decided, Decider, Incoming, Mode, Store
from bus.process.event import AskedAgain

#: What leaves a store that asks only. Without its admission a host answers nothing.
MAY_LEAVE = frozenset({MessageType.TASK_QUERIED, MessageType.HOST_ADMITTED})
_PAGE = 100


class Reconciler:
    """Asks about every open interaction, page by page, and again about those that nobody answers."""

    def __init__(self, store: Store, decider: Decider, settings: Settings) -> None:
        self._store = store
        self._decider = decider
        self._settings = settings
        #: A store is restored while nobody uses it: once it is open, it stays open.
        self._is_open = False
        self._after = 0
        self._look_at: Instant = 0

    def in_place_of(self, step: Callable[[], int]) -> Callable[[], int]:
        """The step of a role that must rest meanwhile (the timekeeper's), and until then one of this."""
        return lambda: self.step() if self.asks_only() else step()

    def asks_only(self) -> bool:
        """Whether the store was restored and nobody has opened it yet."""
        self._is_open = self._is_open or self._store.mode() is Mode.OPEN
        return not self._is_open

    def step(self) -> int:
        """One page; how many requests it was about, 0 while there is nothing to ask."""
        mode = self._store.mode()
        if mode is Mode.OPEN:
            return 0
        if mode is Mode.RECONCILE:
            return self._ask(overdue=False) or self._all_asked()
        return self._ask(overdue=True) if self._store.now() >= self._look_at else 0

    def _ask(self, *, overdue: bool) -> int:
        ids = self._store.alive_requests(self._after, _PAGE)
        if not ids:
            self._after, self._look_at = 0, self._store.now() + self._settings.answer_within
            return 0
        self._decider.decide([Incoming(request_id=one, event=AskedAgain(overdue=overdue)) for one in ids])
        self._after = self._store.key_of(ids[-1])
        return len(ids)

    def _all_asked(self) -> int:
        # A person may have opened it meanwhile, and opened it stays.
        self._store.save_mode(Mode.ASKED, was=Mode.RECONCILE)
        return 0


class Gatekeeper:
    """Decides for people and consumers, and refuses while the store asks only: what they know may not be so any more.

    Following and reading need no decision, and go on.
    """

    def __init__(self, decider: Decider, store: Store) -> None:
        self._decider = decider
        self._store = store
        self._is_open = False

    def decide(self, batch: Sequence[Incoming]) -> tuple[Decided, ...]:
        """As `Decider.decide`; TransientError ``reconciling`` until somebody opened the store."""
        self._is_open = self._is_open or self._store.mode() is Mode.OPEN
        if not self._is_open:
            raise TransientError(
                "The store of the bus was restored, and the agencies are being asked what happened since.",
                code="reconciling",
                mend="Try again later: nothing new is accepted until those who run the bus have opened it.",
            )
        return self._decider.decide(batch)


def open_for_work(store: Store, *, by: str, reason: str, force: bool = False) -> int:
    """Let everything leave again; how many interactions nobody has answered for.

    ConflictError if it is open, and, unless forced, while not all was asked or not all was answered: an agency that
    is away answers when it comes back, and each of its interactions waits for that with or without this.
    """
    mode = store.mode()
    if mode is Mode.OPEN:
        raise ConflictError("The store is open already.", code="store-open", mend="There is nothing to do.")
    unanswered = store.unanswered()
    if not force and (mode is not Mode.ASKED or unanswered):
        asked = "" if mode is Mode.ASKED else "Not every open interaction was asked about yet. "
        raise ConflictError(
            f"{asked}{unanswered} of those asked about have no answer.",
            code="reconcile-unfinished",
            mend="Leave the bus running and look again with `bus status`; --force opens it nevertheless.",
        )
    act = Act(actor=by, what="store_opened", target="store", reason=f"{reason} ({unanswered} unanswered)")
    if not store.save_mode(Mode.OPEN, was=mode, act=act):
        raise ConflictError("Somebody else changed the mode of the store.", code="store-moved", mend="Look again.")
    return unanswered
