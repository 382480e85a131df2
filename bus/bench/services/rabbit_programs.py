"""Where the programs of RabbitMQ are found, by release."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final, Literal, TypeAlias

from bus.bench.services.place import MEND, Image, Place, docker_works, services_dir
from bus.bench.services.waiting import ServiceError

#: ``4``: RabbitMQ 4.x, which decides. ``debian``: the release of the machine's own packages, older on Debian 12.
Release: TypeAlias = Literal["4", "debian"]

_USER: Final = "rabbitmq"
_IMAGES: Final[dict[Release, Image]] = {
    "4": Image(image="rabbitmq:4-management", user=_USER),
    "debian": Image(image="rabbitmq:3.10-management", user=_USER),
}
#: Not the programs of /usr/sbin: those are wrappers that change the user and hide the output.
PROGRAMS: Final = Path("/usr/lib/rabbitmq/bin")


def find(release: Release) -> Place | Image:
    """RabbitMQ of that release: Docker if it works, else what ``scripts/services`` made, else this machine's own."""
    local = _local()
    if docker_works():
        return _IMAGES[release]
    if release == "debian":
        if local is None:
            raise ServiceError(f"There is no rabbitmq-server here. {MEND}")
        return local
    made = services_dir() / "rabbitmq-4"
    if (made / "usr/lib/rabbitmq/bin/rabbitmq-server").exists():
        if not (made / "proc/self").exists():
            raise ServiceError(f"{made} is not mounted, as after a start of the machine. {MEND}")
        return Place(programs=PROGRAMS, user=_USER, root=made)
    if local is not None and _version(local) >= 4:
        return local
    raise ServiceError(f"There is no RabbitMQ 4 here: neither Docker, nor {made}, nor a rabbitmq-server 4. {MEND}")


def _local() -> Place | None:
    if (PROGRAMS / "rabbitmq-server").exists():
        return Place(programs=PROGRAMS, user=_USER)
    found = shutil.which("rabbitmq-server")
    return Place(programs=Path(found).parent, user=_USER) if found else None


def _version(place: Place) -> int:
    """The major release, by the folder of its code: asking the program takes a second."""
    text = " ".join(str(path) for path in place.programs.resolve().parent.glob("lib/rabbitmq_server-*"))
    found = re.search(r"rabbitmq_server-(\d+)", text) or re.search(r"/(\d+)\.\d+\.\d+", str(place.programs.resolve()))
    return int(found[1]) if found else 0
