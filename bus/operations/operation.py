"""What an operation is: one declaration from which the route, the command and the documentation are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_type_hints

from bus.errors import ForbiddenError
from bus.message.text import Text
from bus.operations.caller import Caller, Role
from bus.operations.context import Context
from bus.ports import Decided, Incoming

I = TypeVar("I")  # noqa: E741  (input, as O is output)
O = TypeVar("O")  # noqa: E741

#: Where a request over HTTP carries a value: ``member`` of the JSON object in the body, or the whole ``body``.
Place: TypeAlias = Literal["path", "query", "header", "member", "body"]
Method: TypeAlias = Literal["GET", "POST", "PUT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Stands in the annotation of an input's field: where its value comes from, and what it means."""

    place: Place
    summary: Text
    #: The name of the header; elsewhere the field's own name counts.
    header: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputField:
    """One value that an operation is given."""

    name: str
    #: The annotation without `Given`.
    type: Any
    given: Given
    required: bool
    default: Any

    @property
    def wire_name(self) -> str:
        """How the value is called in a path, a query, a header or a body."""
        return self.given.header or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[O]):
    """Something to be decided. The gateway decides many at once; ``answer`` runs after the commit."""

    incoming: Incoming
    answer: Callable[[Decided], O]
    #: For a submission: the same with the next tracking code, where another request has this one.
    retracked: Callable[[], Command[O]] | None = None

    @property
    def tracking(self) -> str:
        """The tracking code that a submission would like to have; "" for other commands."""
        submission = self.incoming.submission
        return "" if submission is None or self.retracked is None else submission.tracking


Function: TypeAlias = Callable[[Context, Caller, I], O | Command[O]]


def _always_ok(_: Any) -> int:
    return 200


def _no_headers(_given: Any, _output: Any) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[I, O]):
    """One thing that can be done: ``bus NOUN VERB``, a route under ``/v1``, a line of the documentation."""

    noun: str
    #: "" for a command of one word.
    verb: str
    method: Method
    #: Below ``/v1``.
    path: str
    #: Who may; empty for everybody, also without a token.
    roles: frozenset[Role]
    #: A frozen dataclass whose fields are annotated with `Given`.
    input: type[I]
    #: A frozen dataclass, or ``tuple`` of them in one.
    output: type[O]
    summary: Text
    function: Function[I, O]
    #: HTTP status of an output.
    status: Callable[[O], int] = _always_ok
    #: HTTP headers that go with an output.
    headers: Callable[[I, O], Mapping[str, str]] = _no_headers
    #: For a read with ``wait``: whether this output need not be waited for any longer.
    settled: Callable[[I, O], bool] | None = None
    #: For a change with ``wait``: what is answered in place of the output (with 200) once it is there; None before.
    awaited: Callable[[Context, Caller, O], Any] | None = None

    @property
    def name(self) -> str:
        """``request_show``; also the name of the client's method."""
        return "_".join(part for part in (self.noun, self.verb) if part)

    @property
    def fields(self) -> tuple[InputField, ...]:
        """The values that it is given."""
        hints = get_type_hints(self.input, include_extras=True)
        return tuple(_field(item.name, hints[item.name], item.default) for item in fields(self.input))  # type: ignore[arg-type]


def permit(caller: Caller | None, operation: Operation[Any, Any]) -> None:
    """A ForbiddenError if the caller's role may not do this; an admin may do everything."""
    if not operation.roles or (caller is not None and caller.role in operation.roles | {Role.ADMIN}):
        return
    raise ForbiddenError(
        f"This is for the roles {', '.join(sorted(operation.roles | {Role.ADMIN}))}.",
        code="role-not-allowed",
        mend="Use a token of such a role (`bus user add`).",
    )


def _field(name: str, hint: Any, default: Any) -> InputField:
    extras: Mapping[bool, Any] = {isinstance(extra, Given): extra for extra in getattr(hint, "__metadata__", ())}
    required = default is MISSING
    return InputField(
        name=name, type=hint, given=extras[True], required=required, default=None if required else default
    )
