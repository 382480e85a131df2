"""From the input of an operation to the arguments and options of its command, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import EnumType
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin
from uuid import uuid4

import click

from bus.errors import Fault, InvalidMessageError
from bus.message.reply import Need
from bus.message.strict_json import parse
from bus.message.text import Text
from bus.operations.operation import InputField, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The parameters of one field, and how their values become the field's."""

    field: InputField
    click: tuple[click.Parameter, ...]
    #: From all values that click collected.
    value: Callable[[dict[str, Any]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """All parameters of one command."""

    fields: tuple[_Asked, ...]

    @property
    def click(self) -> list[click.Parameter]:
        """What click reads: arguments first, as in the usage line."""
        every = [parameter for field in self.fields for parameter in field.click]
        return sorted(every, key=lambda parameter: not isinstance(parameter, click.Argument))

    def values(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the client's method; what was not given is left out."""
        found = {field.field.name: field.value(given) for field in self.fields}
        return {name: value for name, value in found.items() if value is not None}


def parameters_of(operation: Operation[Any, Any]) -> Parameters:
    """The parameters of the command of an operation."""
    return Parameters(fields=tuple(_asked(field) for field in operation.fields))


def _asked(field: InputField) -> _Asked:
    kind = _kind(field.type)
    if field.given.place == "body":
        return _one(field, click.Argument([field.name], metavar="FILE", type=click.File("rb")), _read_file)
    if field.given.place == "path":
        type_ = click.INT if kind is int else click.STRING
        return _one(field, click.Argument([field.name], metavar=field.name.upper(), type=type_))
    if field.wire_name == "Idempotency-Key":
        return _one(field, _option(field, "--key", required=False), lambda key: _new_key() if key is None else key)
    if kind is Text:
        return _text(field)
    if get_origin(kind) is tuple:
        return _many(field, get_args(kind)[0])
    if get_origin(kind) is dict:
        option = _option(field, "--set", field.name, multiple=True, metavar="POINTER=VALUE")
        return _one(field, option, _pairs)
    return _one(field, _plain(field, kind))


def _plain(field: InputField, kind: Any) -> click.Option:
    names = (_flag(field), field.name)
    if kind is bool:
        return _option(field, *names, is_flag=True)
    if isinstance(kind, EnumType):
        return _option(field, *names, type=click.Choice([str(member) for member in kind]))  # type: ignore[var-annotated]
    if get_origin(kind) is Literal:
        return _option(field, *names, type=click.Choice(get_args(kind)))
    return _option(field, *names, type=click.INT if kind is int else click.STRING)


def _many(field: InputField, kind: Any) -> _Asked:
    if Need is kind:
        return _needs(field)
    if not isinstance(kind, EnumType):
        return _numbers(field)
    choices = click.Choice([str(member) for member in kind])  # type: ignore[var-annotated]
    option = _option(field, _flag(field), field.name, multiple=True, type=choices)
    return _one(field, option, lambda given: given or None)


def _flag(field: InputField) -> str:
    """``--on-behalf-of``; ``--from`` for what Python must call ``from_``."""
    return f"--{field.name.strip('_').replace('_', '-')}"


def _option(field: InputField, *names: str, **more: Any) -> click.Option:
    more.setdefault("required", field.required)
    return click.Option([*names], help=f"{field.given.summary.en} {field.given.summary.ar}", **more)


def _one(field: InputField, parameter: click.Parameter, convert: Callable[[Any], Any] = lambda value: value) -> _Asked:
    name = parameter.name or field.name
    return _Asked(field=field, click=(parameter,), value=lambda given: convert(given[name]))


def _numbers(field: InputField) -> _Asked:
    argument = click.Argument([field.name], nargs=-1, required=True, type=click.INT, metavar="CURSOR...")
    return _one(field, argument)


def _text(field: InputField) -> _Asked:
    options = [_option(field, f"--{field.name}-{lang}", f"{field.name}_{lang}") for lang in ("en", "ar")]
    return _Asked(
        field=field,
        click=tuple(options),
        value=lambda given: {lang: given[f"{field.name}_{lang}"] for lang in ("en", "ar")},
    )


def _needs(field: InputField) -> _Asked:
    """One need from options, or many from a file."""
    names = ("pointer", "code", "text_en", "text_ar")
    options = [
        click.Option(["--pointer"], help="Field that is missing, as a JSON pointer. الحقل الناقص."),
        click.Option(["--code"], help="Stable code of the reason. رمز السبب."),
        click.Option(["--text-en"], help="The reason in English. السبب بالإنجليزية."),
        click.Option(["--text-ar"], help="The reason in Arabic. السبب بالعربية."),
        click.Option(["--needs", "needs_file"], type=click.File("rb"), help="Instead of these: a JSON list of needs."),
    ]

    def value(given: dict[str, Any]) -> Any:
        if given["needs_file"] is not None:
            return parse(given["needs_file"].read())
        missing = [name for name in names if given[name] is None]
        if missing:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
            raise click.UsageError(f"Missing {flags} (or give all needs with --needs FILE).")
        text = {"en": given["text_en"], "ar": given["text_ar"]}
        return [{"pointer": given["pointer"], "reason_code": given["code"], "text": text}]

    return _Asked(field=field, click=tuple(options), value=value)


def _pairs(pairs: tuple[str, ...]) -> dict[str, Any]:
    """``/lease_number=L-7`` is a text; ``/rooms:=3`` is JSON."""
    values: dict[str, Any] = {}
    for pair in pairs:
        pointer, separator, text = pair.partition("=")
        if not separator:
            message = "There is no = between pointer and value."
            fault = Fault(code="not-a-pair", message=message, mend="Write /field=value.")
            raise InvalidMessageError((fault,))
        is_json = pointer.endswith(":")
        values[pointer.removesuffix(":")] = parse(text.encode()) if is_json else text
    return values


def _read_file(file: Any) -> Any:
    value = parse(file.read())
    if not isinstance(value, dict):
        fault = Fault(code="body-not-object", message="The file holds no JSON object.", mend="Write one: {...}.")
        raise InvalidMessageError((fault,))
    return value


def _new_key() -> str:
    key = str(uuid4())
    click.echo(f"bus: --key {key} (give it again to repeat this same submission)", err=True)
    return key


def _kind(annotation: Any) -> Any:
    """The type itself, without its constraints and without None."""
    plain = getattr(annotation, "__origin__", annotation) if hasattr(annotation, "__metadata__") else annotation
    if get_origin(plain) in {Union, UnionType}:
        (plain,) = (part for part in get_args(plain) if part is not type(None))
    return plain
