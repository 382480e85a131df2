"""What stands once in an installation: agencies, definitions, processes, the mode, users."""

from __future__ import annotations

from bus.message.instant import Instant, Milliseconds
from bus.ports import Act, AgencyRow, Mode
from bus.process.state import StepState
from bus.stores import commands, queries
from bus.stores.sql_place import SqlPlace


class Installation(SqlPlace):
    """The part of the port that is about the installation and not about a request."""

    def counts(self, state: StepState) -> dict[str, int]:
        """How many steps are in that state, by agency (desks left out)."""
        with self.looking() as connection:
            return queries.counts(connection, state)

    def agencies(self) -> dict[str, AgencyRow]:
        """Every agency that has a row."""
        with self.looking() as connection:
            return queries.agencies(connection)

    def save_agency(self, row: AgencyRow, expected: AgencyRow | None, act: Act | None = None) -> bool:
        """Compare-and-set of an agency's row, with the act."""
        with self.writing() as connection:
            saved = commands.save_agency(connection, row, expected)
            self._note(connection, act if saved else None)
            return saved

    def note_act(self, act: Act) -> None:
        """Keep what somebody did."""
        with self.writing() as connection:
            self._note(connection, act)

    def acts(self, *, after: int, most: int) -> tuple[Act, ...]:
        """What those who run the bus did, oldest first."""
        with self.reading() as connection:
            return queries.acts(connection, after, most)

    def definition(self, revision: str) -> bytes | None:
        """The closure under its hash."""
        with self.looking() as connection:
            return queries.closure(connection, revision)

    def save_definition(self, revision: str, closure: bytes) -> None:
        """Keep a closure; the same again is nothing."""
        with self.writing() as connection:
            commands.save_definition(connection, revision, closure)

    def epoch(self) -> str | None:
        """Name of the broker's epoch as the store knows it."""
        with self.looking() as connection:
            return queries.setting_value(connection, "epoch")

    def save_epoch(self, epoch: str) -> None:
        """A new epoch began."""
        with self.writing() as connection:
            commands.save_setting(connection, "epoch", epoch)

    def be_present(self, process: str, settled_to: Instant) -> None:
        """This process manager is there, and has settled so far."""
        with self.writing() as connection:
            commands.be_present(connection, process, settled_to, self.now())

    def presences(self, since: Instant) -> dict[str, Instant]:
        """Process -> up to when it has settled, of those seen since."""
        with self.looking() as connection:
            return queries.presences(connection, since)

    def leave(self, process: str) -> None:
        """This process manager holds nothing any more."""
        with self.writing() as connection:
            commands.leave(connection, process)

    def take_turn(self, what: str, process: str, lease: Milliseconds) -> bool:
        """Whether the process has the turn from now on."""
        with self.writing() as connection:
            return commands.take_turn(connection, what, process, self.now(), lease)

    def end_turn(self, what: str, process: str) -> None:
        """The process does not need its turn any more."""
        with self.writing() as connection:
            commands.end_turn(connection, what, process)

    def mode(self) -> Mode:
        """Whether it may be acted on."""
        with self.looking() as connection:
            return Mode(queries.setting_value(connection, "mode") or Mode.OPEN)

    def save_mode(self, mode: Mode, *, was: Mode, act: Act | None = None) -> bool:
        """Compare-and-set: from one of the modes of a restored store to another, with the act."""
        with self.writing() as connection:
            moved = commands.move_setting(connection, "mode", was, mode)
            self._note(connection, act if moved else None)
            return moved

    def begin_reconcile(self, act: Act) -> None:
        """It was restored, with the act."""
        with self.writing() as connection:
            commands.begin_reconcile(connection)
            self._note(connection, act)

    def unanswered(self) -> int:
        """How many sent interactions wait for an answer."""
        with self.reading() as connection:
            return queries.unanswered(connection)

    def installation(self) -> str:
        """The id that this store got when it was made."""
        with self.reading() as connection:
            return queries.setting_value(connection, "installation") or ""

    def save_token(self, *, token_hash: str, user: str, role: str, agency: str | None, act: Act | None = None) -> None:
        """A user's bearer token, as its SHA-256, with the act."""
        with self.writing() as connection:
            commands.save_token(connection, token_hash, user, role, agency)
            self._note(connection, act)

    def remove_tokens(self, user: str, act: Act | None = None) -> int:
        """Take every token of a user back, with the act; how many there were."""
        with self.writing() as connection:
            removed = commands.remove_tokens(connection, user)
            self._note(connection, act if removed else None)
            return removed

    def users(self) -> set[str]:
        """Who has a token."""
        with self.reading() as connection:
            return queries.users(connection)

    def token(self, token_hash: str) -> tuple[str, str, str | None] | None:
        """(user, role, agency) of a token."""
        with self.looking() as connection:
            return queries.token_of(connection, token_hash)
