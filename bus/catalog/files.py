"""The routes of a workspace as one document: ``routes.yaml``, the files that it includes, and the tables of members."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from bus.catalog.document import Document, Place, read_bytes, read_document
from bus.catalog.members import with_members
from bus.catalog.shape import pruned, shape_faults
from bus.catalog.workspace import Origin, Owner
from bus.errors import Fault
from bus.message.reply import Data

ROUTES = "routes.yaml"
#: What every file of the routes may hold, each name in one file only.
SECTIONS = ("purposes", "agencies", "groups", "services")
#: Without these there is nothing to route.
_NEEDED = ("agencies", "purposes", "services")


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """The routes of all files, of the right shape but for names that are missing, and who answers for each file."""

    document: Document
    owners: Mapping[str, Owner]

    def origin(self, *at: str | int) -> Origin:
        """Where the name at that place stands; a table of members is its group's owner's, too."""
        position = self.document.names.get(at) or self.document.values.get(at)
        holder = self.document.names.get(at[:2]) or position
        if position is None or holder is None:
            return Origin()
        return Origin(file=position.file, line=position.line, owner=self.owners.get(holder.file))


def read_routes(root: Path, schema: Data) -> tuple[Routes | None, tuple[Fault, ...]]:
    """The routes below ``root`` and what is wrong with their files and shape; None where no more can be judged.

    A file that cannot be read leaves nothing to judge: what it may define would be missed everywhere else.
    """
    first, faults = _read(root, ROUTES, schema)
    if first is None:
        return None, faults
    files, found = _included(root, first)
    faults += found
    part = {"$ref": "#/$defs/included", "$defs": schema.get("$defs", {})}
    read = [_read(root, file, part) for file in files]
    for _, found in read:
        faults += found
    documents = [first, *(document for document, _ in read if document is not None)]
    document, found = _joined(documents)
    faults += found
    if len(documents) <= len(files):
        return None, faults
    document, found = with_members(root, document, schema)
    owners = {one.file: owner for one in documents if (owner := _owner(one.value.get("owner"))) is not None}
    return Routes(document=document, owners=owners), faults + found + tuple(_empty_faults(document))


def _read(root: Path, file: str, schema: Data) -> tuple[Document | None, tuple[Fault, ...]]:
    raw, faults = read_bytes(root, root / file)
    if faults:
        return None, faults
    document, faults = read_document(file, raw)
    if document.value is None and faults:
        return None, faults
    found = shape_faults(document, schema)
    sound = pruned(document, found)
    return (sound if isinstance(sound.value, dict) else None), faults + found


def _included(root: Path, routes: Document) -> tuple[tuple[str, ...], tuple[Fault, ...]]:
    """The files that ``include`` matches, in the order of its items, each once."""
    files: dict[str, None] = {}
    faults: list[Fault] = []
    for index, pattern in enumerate(routes.value.get("include", ())):
        at = ("include", index)
        try:
            matched = _matched(root, pattern)
        except ValueError as error:
            faults.append(routes.fault(at, "bad-include", str(error), "Write it like routes/*.yaml."))
            continue
        if not matched:
            mend = "Add such a file, or take the line out."
            faults.append(routes.fault(at, "nothing-included", f"No file matches {pattern}.", mend))
        for file in matched:
            if (root / file).resolve().is_relative_to(root.resolve()):
                files[file] = None
            else:
                message = f"{file} leads out of the workspace."
                faults.append(routes.fault(at, "outside", message, "Keep the file itself in the workspace."))
    files.pop(ROUTES, None)
    return tuple(files), tuple(faults)


def _matched(root: Path, pattern: str) -> Sequence[str]:
    """The files below ``root``, sorted; a ValueError where the pattern could name others. Hidden files do not count."""
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or "\\" in pattern:
        raise ValueError(f"{pattern} is not a path below the workspace.")
    if path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"{pattern} does not end in .yaml.")
    found = [file.relative_to(root) for file in root.glob(pattern) if file.is_file()]
    return sorted(file.as_posix() for file in found if not any(part.startswith(".") for part in file.parts))


def _joined(documents: Sequence[Document]) -> tuple[Document, tuple[Fault, ...]]:
    """The first with the sections of all; a name that two files have is the first one's, and a fault of the second."""
    first, *others = documents
    value = {name: dict(member) if name in SECTIONS else member for name, member in first.value.items()}
    values, names = dict(first.values), dict(first.names)
    faults: list[Fault] = []
    for document in others:
        taken: set[Place] = set()
        for section, name in _sections(document):
            at = (section, name)
            if name in value.setdefault(section, {}):
                faults.append(_twice(document, at, names))
            else:
                value[section][name] = document.value[section][name]
                taken.add(at)
        for known, own in ((values, document.values), (names, document.names)):
            known.update({at: position for at, position in own.items() if at[:2] in taken})
            known.update({at: own[at] for at in own if len(at) == 1 and at[0] in SECTIONS and at not in known})
    return replace(first, value=value, values=values, names=names), tuple(faults)


def _sections(document: Document) -> Iterator[tuple[str, str]]:
    return ((section, name) for section in SECTIONS for name in document.value.get(section, {}))


def _twice(document: Document, at: Place, names: Mapping[Place, Any]) -> Fault:
    first = names[at]
    message = f"{at[-1]} is given twice; first in {first.file}:{first.line}:{first.column}."
    return document.fault(at, "duplicate-name", message, "Keep one of the two.", name=True)


def _empty_faults(document: Document) -> Iterable[Fault]:
    for name in _NEEDED:
        if (name,) not in document.names:
            message = f"No file of the routes has {name}."
            yield document.fault((), "missing-name", message, f"Add {name}, here or in an included file.")


def _owner(content: Any) -> Owner | None:
    complete = isinstance(content, dict) and {"team", "contact"} <= content.keys()
    return Owner(team=content["team"], contact=content["contact"]) if complete else None
