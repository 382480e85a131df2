"""Who asks: the holder of a bearer token, and what the token lets him be."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum

from bus.errors import ForbiddenError, UnauthenticatedError
from bus.ports import Act, Store


class Role(StrEnum):
    """What a token is for."""

    #: An agency that asks; sees its own requests only.
    CONSUMER = "consumer"
    #: An official at the desk of one agency.
    CLERK = "clerk"
    #: Runs the bus: sees states and failures, never a person's data.
    OPERATOR = "operator"
    #: Answers who was told what: sees disclosures and acts, and no request.
    AUDITOR = "auditor"
    #: Sets the bus up. May act for any agency by naming it in ``Bus-Agency``; each fact then says so.
    ADMIN = "admin"


#: Everyone who has a token.
ANYBODY = frozenset(Role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The asker of one operation. ``agency`` is whom he asks for; None for those who run the bus."""

    user: str
    role: Role
    agency: str | None = None

    @property
    def sees_all(self) -> bool:
        """Whether he looks at the whole bus (states and codes) and not at one agency's own things (data)."""
        return self.role in {Role.OPERATOR, Role.ADMIN} and self.agency is None

    def actor(self, official: str | None = None) -> str:
        """How facts name him. ``official`` is whom a consumer says that it asks for.

        An administrator is always named himself, with the agency that he acts for.
        """
        if self.role is Role.ADMIN:
            return f"admin/{self.user}" + (f" for {self._of_agency(official)}" if self.agency else "")
        return self._of_agency(official or self.user)

    def _of_agency(self, person: str | None) -> str:
        return "/".join(part for part in (self.agency, person) if part)

    def acting_agency(self) -> str:
        """The agency he asks for; a ForbiddenError with the mend where he named none."""
        if self.agency is None:
            raise ForbiddenError(
                "This is done for an agency, and none is named.",
                code="agency-needed",
                mend="Name the agency in the header Bus-Agency (on the command line: --as AGENCY).",
            )
        return self.agency


#: Who gives and takes tokens: whoever may write the store on the machine of the bus.
MACHINE = "machine"


def mint_token(store: Store, user: str, role: Role, agency: str | None = None, *, by: str = MACHINE) -> str:
    """A new bearer token of 256 random bits; the store keeps its SHA-256 only, so this is the one time it is seen.

    The list of acts says that ``by`` gave ``user`` a token.

    A ValueError where the role and the agency do not fit: consumers and clerks belong to one, the others to none.
    """
    if (role in {Role.CONSUMER, Role.CLERK}) is (agency is None):
        raise ValueError(f"A {role} {'belongs to an agency' if agency is None else 'belongs to no agency'}.")
    token = f"bus_{secrets.token_urlsafe(32)}"
    act = Act(actor=by, what="token_added", target=user, reason=" ".join(filter(None, (role, agency))))
    store.save_token(token_hash=token_hash(token), user=user, role=role, agency=agency, act=act)
    return token


def take_tokens(store: Store, user: str, *, by: str = MACHINE) -> int:
    """Take every token of a user back, and say so in the list of acts; how many there were."""
    return store.remove_tokens(user, Act(actor=by, what="tokens_removed", target=user))


def token_hash(token: str) -> str:
    """What the store keeps of a token. Looking a hash up tells nothing by its time."""
    return hashlib.sha256(token.encode()).hexdigest()


def caller_of(store: Store, hash_: str) -> Caller:
    """The holder of the token with this hash; an UnauthenticatedError if nobody has it."""
    found = store.token(hash_)
    if found is None:
        raise UnauthenticatedError(
            "Nobody has this token.",
            code="token-unknown",
            mend="Use a token printed by `bus user add`, or the one in .bus/token on the machine of the bus.",
        )
    user, role, agency = found
    return Caller(user=user, role=Role(role), agency=agency)
