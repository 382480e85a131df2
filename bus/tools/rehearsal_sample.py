"""What the agencies can say: the golden samples of their adapters, and examples where there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bus.catalog import Workspace
from bus.catalog.shelf import contract_file, read_json
from bus.errors import ConfigurationError, Fault
from bus.message.contract import Contracts
from bus.message.example import contract_example
from bus.message.instant import SECOND, Milliseconds
from bus.message.reply import Completed, Data, Effect, Failed, Need, Refused, Returned
from bus.message.strict_json import pointer_to
from bus.message.text import Text
from bus.process.closure import input_contract, output_contract
from bus.process.mapping import split_pointer

#: The reason or code of an answer that no sample gives.
EXAMPLE = "example"
_VALID = "reply-valid-"
_CANONICAL = ".canonical.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One golden reply of an adapter."""

    #: Of the file, between ``reply-valid-`` and ``.canonical.json``.
    name: str
    #: ``completed``, ``refused``, ``returned``, ``failed`` ...
    kind: str
    data: Data

    @property
    def names(self) -> frozenset[str]:
        """What an author may call it: the file, the reason, the code."""
        reasons = [need.get("reason_code") for need in self.data.get("needs", ())]
        said = {self.name, self.data.get("reason_code"), self.data.get("code"), *reasons}
        return frozenset(one for one in said if isinstance(one, str) and one)


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The samples by (agency, operation)."""

    found: Mapping[tuple[str, str], Sequence[Sample]]

    def of(self, agency: str, operation: str, kind: str) -> tuple[Sample, ...]:
        """Those of one kind of reply, by name."""
        return tuple(sample for sample in self.found.get((agency, operation), ()) if sample.kind == kind)

    def choose(self, agency: str, operation: str, kind: str, choice: str) -> Sample | None:
        """The one that the author wants, else the first; None where there is none."""
        fitting = [sample for sample in self.of(agency, operation, kind) if not choice or choice in sample.names]
        return fitting[0] if fitting else None


def read_samples(workspace: Workspace) -> Samples:
    """Every valid golden reply of the workspace; a ConfigurationError names those that carry no reply."""
    found: dict[tuple[str, str], list[Sample]] = {}
    faults: list[Fault] = []
    for agency, manifest in workspace.adapters.items():
        for file in sorted(manifest.folder.glob(f"samples/*/{_VALID}*{_CANONICAL}")):
            sample, broken = _read(workspace.root, file)
            faults += broken
            if sample is not None:
                found.setdefault((agency, file.parent.name), []).append(sample)
    if faults:
        raise ConfigurationError(tuple(dict.fromkeys(faults)))
    return Samples(found=found)


def _read(root: Path, file: Path) -> tuple[Sample | None, Sequence[Fault]]:
    value, faults = read_json(root, file)
    if faults:
        return None, faults
    try:
        kind = value["type"].removeprefix("bus.task.").removesuffix(".v1")
        sample = Sample(name=file.name.removeprefix(_VALID).removesuffix(_CANONICAL), kind=kind, data=value["data"])
        if kind in _SAID:
            _SAID[kind](sample.data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"The sample carries no reply: {type(error).__name__} {error}."
        mend = "Write type and data, without the texts for people."
        shown = file.relative_to(root).as_posix()
        return None, [Fault(code="bad-sample", message=message, mend=mend, file=shown)]
    return sample, ()


# --- replies ---------------------------------------------------------------------------------------------------------


def completed(samples: Samples, contracts: Contracts, agency: str, operation: str, choice: str) -> Completed:
    """It was done; a ConfigurationError where neither a sample nor an example of the contract can be had."""
    sample = samples.choose(agency, operation, "completed", choice)
    if sample is not None:
        return Completed(data=sample.data)
    try:
        return Completed(data=contract_example(contracts, output_contract(operation)))
    except ValueError as error:
        file = contract_file(output_contract(operation))
        raise ConfigurationError((Fault(code="no-example", message=str(error), file=file),)) from error


def refused(samples: Samples, agency: str, operation: str, choice: str) -> Refused:
    """The lawful "no" of a sample, or an example of one."""
    sample = samples.choose(agency, operation, "refused", choice)
    return _refused(sample.data if sample else {"reason_code": choice or EXAMPLE})


def returned(samples: Samples, contracts: Contracts, agency: str, operation: str, choice: str, given: Data) -> Returned:
    """Something is missing: what a sample says, or a field of the contract that the task does not have."""
    sample = samples.choose(agency, operation, "returned", choice)
    if sample is not None:
        return _returned(sample.data)
    known = contracts.schema(input_contract(operation)).get("properties", {})
    missing = [name for name in known if name not in given]
    pointer = pointer_to([*(missing or known)][:1])
    return _returned({"needs": [{"pointer": pointer, "reason_code": choice or EXAMPLE}]})


def failed(samples: Samples, agency: str, operation: str, choice: str) -> Failed:
    """What a sample says, before all one that trying again cannot help; or an example of such."""
    fitting = [one for one in samples.of(agency, operation, "failed") if not choice or choice in one.names]
    fitting.sort(key=lambda one: bool(one.data["retryable"]))
    example = {"code": choice or EXAMPLE, "effect": Effect.NONE, "retryable": False}
    return _failed(fitting[0].data if fitting else example)


def _refused(data: Data) -> Refused:
    return Refused(reason_code=data["reason_code"], text=_text(data, data["reason_code"]))


def _returned(data: Data) -> Returned:
    needs = tuple(
        Need(pointer=one["pointer"], reason_code=one["reason_code"], text=_text(one, one["reason_code"]))
        for one in data["needs"]
    )
    return Returned(needs=needs, within=_milliseconds(data.get("within")))


def _failed(data: Data) -> Failed:
    return Failed(
        code=data["code"],
        effect=Effect(data["effect"]),
        retryable=data["retryable"],
        text=_text(data, data["code"]),
        retry_after=_milliseconds(data.get("retry_after")),
        legacy_code=data.get("legacy_code"),
    )


#: What has a form of its own; the data of the others are judged by the operation's contract, or are empty.
_SAID: Mapping[str, Callable[[Data], Any]] = {"refused": _refused, "returned": _returned, "failed": _failed}


def _milliseconds(seconds: float | None) -> Milliseconds | None:
    return None if seconds is None else round(seconds * SECOND)


def supplement(asked: Sequence[str], contracts: Contracts, operation: str, given: Data) -> dict[str, Any]:
    """What the applicant brings, by pointer: the values of the contract's example, else once more those he gave."""
    try:
        example = contract_example(contracts, input_contract(operation))
    except ValueError:
        example = given
    found = {pointer: _at(example, pointer) for pointer in asked}
    return {pointer: _at(given, pointer) if value is None else value for pointer, value in found.items()}


def _at(value: Any, pointer: str) -> Any:
    for part in split_pointer(pointer):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _text(data: Data, code: str) -> Text:
    """The words of a sample; samples leave them out, because they stand in the adapter's own table."""
    if isinstance(data.get("text"), Mapping):
        return Text(**data["text"])
    return Text(en=f"An example of this answer ({code}).", ar=f"مثال على هذا الجواب ({code}).")
