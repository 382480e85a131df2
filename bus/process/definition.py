"""What can be asked for: a service, its steps, and what each step may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bus.message.instant import DAY, HOUR, SECOND, Milliseconds
from bus.message.text import Text

OnRefused: TypeAlias = Literal["reject", "continue"]
OnExhausted: TypeAlias = Literal["park", "fail"]
OnDeadline: TypeAlias = Literal["park", "refuse", "continue"]
#: What happens when the request's own deadline passes.
OnRequestDeadline: TypeAlias = Literal["escalate", "expire"]
RepeatKind: TypeAlias = Literal["safe", "idempotent", "queryable", "natural_key", "at_most_once"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A dotted path: ``request.applicant.national_id``, ``steps.identity.national_id``, ``item.birth_date``."""

    #: ``request``, ``steps``, ``item``; and ``input``, what the step itself was given, for its compensation.
    root: Literal["request", "steps", "item", "input"]
    #: The step's name where root is ``steps``, else "".
    step: str
    #: The members below the root: ``("applicant", "national_id")``.
    members: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(part for part in (self.root, self.step, *self.members) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Const:
    """A literal: ``{const: sole}``."""

    value: str | int | float | bool | None


Value: TypeAlias = Path | Const


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """``when``: the path is present and not false, or is one of ``among`` where that is given."""

    path: Path
    among: tuple[str | int | float | bool | None, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delayed retries: at most ``attempts`` automatic tries, exponential from ``first`` by ``factor`` to ``most``."""

    attempts: int = 8
    first: Milliseconds = 5 * SECOND
    factor: float = 3.0
    most: Milliseconds = HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """What trying an operation again may do; declared in the adapter's manifest, without a default."""

    kind: RepeatKind
    #: ``idempotent``: how long the legacy system keeps our key.
    window: Milliseconds = 0
    #: ``queryable``: how long after the call "not there" begins to count.
    absence_proof_after: Milliseconds = 0


#: A desk sends nothing, but what a clerk has done once is done: nobody does it again to be sure.
DESK_REPEAT = Repeat(kind="at_most_once")


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf:
    """A provider chosen for each request from a group of agencies of one kind."""

    group: str
    #: Where the code of the member stands: in the request, in an earlier step's output, or in the item.
    by: Path
    #: Code -> agency id.
    members: Mapping[str, str]
    #: Those of the agencies that clerks answer.
    desks: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """How to take back a succeeded step: an interaction of its own."""

    operation: str
    input: Mapping[str, Value]
    repeat: Repeat
    deadline: Milliseconds | None = None
    backoff: Backoff = Backoff()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDefinition:
    """One provider's part of a service."""

    name: str
    title: Text
    provider: str | OneOf
    operation: str
    #: Target member -> where its value comes from.
    input: Mapping[str, Value]
    repeat: Repeat
    #: Answered by clerks in the bus's own store; nothing is ever sent. Of a `OneOf`, each member says so for itself.
    desk: bool = False
    #: A list of which each item is a row of its own; at most ``most`` of them.
    for_each: Path | None = None
    most: int = 0
    needs: tuple[str, ...] = ()
    when: Condition | None = None
    optional: bool = False
    #: Once this step was dispatched the request can no longer be cancelled.
    final: bool = False
    deadline: Milliseconds | None = None
    on_refused: OnRefused = "reject"
    on_exhausted: OnExhausted = "park"
    on_deadline: OnDeadline = "park"
    backoff: Backoff = Backoff()
    compensate: Compensation | None = None

    @property
    def party(self) -> str:
        """The agency, or the group of which one member will be chosen."""
        return self.provider if isinstance(self.provider, str) else self.provider.group

    @property
    def providers(self) -> tuple[str, ...]:
        """Every agency that may be asked."""
        return (self.provider,) if isinstance(self.provider, str) else tuple(self.provider.members.values())

    def is_desk(self, agency: str) -> bool:
        """Whether clerks answer for this agency."""
        return self.desk if isinstance(self.provider, str) else agency in self.provider.desks


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one consumer may ask of the service, and which fields of the result it receives."""

    purposes: tuple[str, ...]
    #: JSON pointers into the result; () gives nothing but the outcome.
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """Why a consumer asks, and the law that allows it."""

    title: Text
    legal_basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A service as it was when a request was pinned to it: everything that `decide` needs and nothing living."""

    service: str
    title: Text
    #: Contract names.
    request_contract: str
    result_contract: str
    #: Where the subject's identifier is in the request.
    subject: Path
    consumers: Mapping[str, Grant]
    purposes: Mapping[str, Purpose]
    #: In definition order, which is a topological order of ``needs``.
    steps: Mapping[str, StepDefinition]
    output: Mapping[str, Value]
    deadline: Milliseconds = 30 * DAY
    on_deadline: OnRequestDeadline = "escalate"
