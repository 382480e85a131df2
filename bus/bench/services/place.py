"""Where the programs of a service are found, and how one is started there: Docker, a chroot, or this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from bus.bench.services.waiting import ServiceError

#: What to do where nothing is found.
MEND = "Mend: make services"
#: Where ``scripts/services`` puts what the machine's own packages are too old for.
SERVICES_DIR = Path("/var/lib/bus-services")
#: The folder of every node, as its programs see it where that may be arranged; any Debian has it.
_MOUNTED = Path("/mnt")
#: Mounts $1 on $2, for this program alone: the mount is gone when the program is.
_BIND = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How one program is started."""

    command: tuple[str, ...]
    #: The container in which it runs, "" for none.
    container: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Programs on this machine, or in a chroot on it."""

    #: Where the programs are, as seen from inside.
    programs: Path
    #: As root, the programs run as this user: PostgreSQL insists, and nobody needs more.
    user: str
    #: "/" is this machine.
    root: Path = Path("/")

    @property
    def folder_inside(self) -> Path | None:
        """Where the programs see the folder of a node; None: where it is."""
        return _MOUNTED if self._mounts else None

    @property
    def _mounts(self) -> bool:
        """Whether the folder is mounted where the programs are, and their user reaches it whoever owns its parents."""
        return self.root != Path("/") or _may_mount()

    def owned(self, folder: Path) -> None:
        """Make the folder one into which the programs may write."""
        if os.geteuid() == 0:
            program = ["chroot", str(self.root), "id"]
            uid, gid = (int(_output([*program, option, self.user])) for option in ("-u", "-g"))
            os.chown(folder, uid, gid)

    def start(
        self,
        program: str,
        *arguments: str,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        network: int | None = None,
    ) -> Start:
        """The command for one program; ``network`` is a process whose network it shall share."""
        settings = [f"{name}={value}" for name, value in (environment or {}).items()]
        command = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", *settings]
        command += [str(self.programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["chroot", f"--userspec={self.user}:", str(self.root), *command]
        elif self.root != Path("/"):
            command = ["chroot", str(self.root), *command]
        if self._mounts:
            target = str(self.root / _MOUNTED.relative_to("/"))
            # Who is not root is root in a namespace of his own, which may mount.
            own = ["--mount"] if os.geteuid() == 0 else ["--map-root-user", "--mount"]
            command = ["unshare", *own, "sh", "-c", _BIND, "sh", str(folder), target, *command]
        if network is not None:
            command = ["nsenter", f"--net=/proc/{network}/ns/net", *command]
        return Start(command=tuple(command))


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Programs in an image that Docker runs, on the network of this machine."""

    image: str
    #: The image's own user; where we are not root, the programs run as ourselves.
    user: str
    folder_inside: Path = field(default=_MOUNTED, init=False)

    def owned(self, folder: Path) -> None:
        """Make the folder one into which the programs may write."""
        folder.chmod(0o777)

    def start(
        self,
        program: str,
        *arguments: str,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        network: int | None = None,
    ) -> Start:
        """The command for one program; a network of its own is not to be had here."""
        if network is not None:
            raise ServiceError(f"Private networks need local programs, not Docker. {MEND}")
        name = f"bus-{secrets.token_hex(6)}"
        command = ["docker", "run", "--rm", "--name", name, "--network", "host", "--volume", f"{folder}:{_MOUNTED}"]
        if os.geteuid() == 0:
            command += ["--user", self.user]
        else:  # PostgreSQL wants to know the name of its user
            command += ["--user", f"{os.geteuid()}:{os.getegid()}", "--volume", "/etc/passwd:/etc/passwd:ro"]
        for setting, value in (environment or {}).items():
            command += ["--env", f"{setting}={value}"]
        command += ["--entrypoint", program, self.image, *arguments]
        return Start(command=tuple(command), container=name)


def run(start: Start, *, check: bool = True, timeout: float = 60.0) -> str:
    """Run a program to its end; its output. ServiceError if it fails."""
    done = subprocess.run(
        start.command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=timeout, check=False
    )
    if check and done.returncode:
        raise ServiceError(f"{' '.join(start.command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@cache
def docker_works() -> bool:
    """Whether there is a Docker engine, and not only its command."""
    found = shutil.which("docker")
    if found is None:
        return False
    return not subprocess.run([found, "info"], capture_output=True, timeout=30, check=False).returncode


def services_dir() -> Path:
    """Where ``scripts/services`` puts things; BUS_SERVICES_DIR says otherwise."""
    return Path(os.environ.get("BUS_SERVICES_DIR", SERVICES_DIR))


@cache
def _may_mount() -> bool:
    """Whether this process is root, and may give a program mounts of its own."""
    found = shutil.which("unshare")
    if found is None or os.geteuid() != 0:
        return False
    return not subprocess.run([found, "--mount", "true"], capture_output=True, check=False).returncode


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
