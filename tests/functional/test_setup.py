"""`make` on a fresh machine: it finds what to set up with, or prints the one command that mends the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What every machine has. Everything else on the PATH of these machines is made by the tests.
TOOLS = ("bash", "cat", "cksum", "dirname", "head", "make", "rm", "sed", "sh")
UV = "curl -LsSf https://astral.sh/uv/install.sh | sh"

JAMMY = 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="22.04"\n'
NOBLE = 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n'
BOOKWORM = 'ID=debian\nVERSION_ID="12"\n'
BULLSEYE = 'ID=debian\nVERSION_ID="11"\n'
ROCKY = 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n'


class Machine:
    """A checkout without .venv, and a PATH on which only these tools are."""

    def __init__(self, folder: Path, release: str = BOOKWORM, *, system: str = "Linux", user: int = 1000) -> None:
        self.folder = folder
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.checkout)
        for name in ("scripts", ".ci"):
            shutil.copytree(ROOT / name, self.checkout / name)
        #: Programs made here. Apart from the links to real ones, so that nothing is ever written through a link.
        self.path = folder / "made"
        self.path.mkdir()
        self.tools = folder / "tools"
        self.tools.mkdir()
        for tool in TOOLS:
            (self.tools / tool).symlink_to(found(tool))
        self.release = folder / "os-release"
        self.release.write_text(release, encoding="ascii")
        self.told = folder / "told"
        self.has("uname", f"echo {system}")
        self.has("id", f"echo {user}")
        # What it installs is another test's matter.
        self._write(self.checkout / "scripts" / "services", f'echo services >> "{self.told}"')

    def has(self, name: str, script: str) -> None:
        """A program of this machine; it notes what it was told."""
        noted = f'echo "{name} $*" >> "{self.told}"\n' if name not in {"uname", "id"} else ""
        self._make(name, f"{noted}{script}")

    def has_python(self, name: str, version: tuple[int, int], *, venv: bool = True) -> None:
        """This test's own Python, which takes itself for another version and may lack ensurepip, as Debian's does."""
        lacks = "" if venv else 'sys.modules["ensurepip"] = None; '
        pretends = f'import sys; sys.version_info = (*{version}, 1, "final", 0); {lacks}exec(sys.argv.pop(1))'
        self._make(name, f'[ "$1" != -c ] || exec {sys.executable} -c \'{pretends}\' "$2"\nexec {sys.executable} "$@"')

    def _make(self, name: str, script: str) -> None:
        self._write(self.path / name, script)

    @staticmethod
    def _write(program: Path, script: str) -> None:
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)

    def has_uv(self, install: str = "exit 0") -> None:
        """A uv that makes environments without pip, and installs nothing."""
        made = f'exec {sys.executable} -m venv --without-pip "$5"'
        self.has("uv", f'case "$1" in venv) {made} ;; pip) {install} ;; esac')

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.path}:{self.tools}"
        environment = {"PATH": path, "HOME": str(self.folder), "OS_RELEASE": str(self.release), "LC_ALL": "C"}
        return subprocess.run(
            command, cwd=self.checkout, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    def calls(self) -> list[str]:
        """What the noting programs were told since the last look."""
        calls = self.told.read_text(encoding="utf-8").splitlines() if self.told.exists() else []
        self.told.unlink(missing_ok=True)
        return calls


def found(tool: str) -> str:
    path = shutil.which(tool)
    assert path is not None, f"{tool} is not installed here"
    return path


def mend_of(machine: Machine) -> str:
    """The one command that `make demo` prints; it has ended with 2, and has left nothing."""
    done = machine.run("make", "demo")
    assert done.returncode == 2, done
    assert machine.run("scripts/set-up").returncode == machine.run("scripts/find-python").returncode == 2
    assert not (machine.checkout / ".venv").exists()
    assert "Traceback" not in done.stderr
    commands = [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")]
    assert len(commands) == 1, done.stderr
    return commands[0]


def test_ubuntu_22_04_is_told_to_install_a_newer_python_beside_its_own(tmp_path: Path) -> None:
    # Given Python 3.10, which Ubuntu 22.04 has
    machine = Machine(tmp_path, JAMMY)
    machine.has_python("python3", (3, 10))
    # Then the newer one of the same system mends it
    assert mend_of(machine) == "sudo apt-get install -y python3.11-venv"


def test_ubuntu_24_04_without_venv_is_told_the_package_of_its_own_python(tmp_path: Path) -> None:
    # Given Python 3.12 and no python3-venv
    machine = Machine(tmp_path, NOBLE)
    machine.has_python("python3", (3, 12), venv=False)
    # Then it is what venv needs, for that very version
    assert mend_of(machine) == "sudo apt-get install -y python3.12-venv"


def test_root_is_not_told_to_use_a_sudo_that_a_container_lacks(tmp_path: Path) -> None:
    machine = Machine(tmp_path, BOOKWORM, user=0)
    assert mend_of(machine) == "apt-get install -y python3-venv"


@pytest.mark.parametrize(
    ("release", "mend"),
    [
        (BULLSEYE, UV),
        (ROCKY, "sudo dnf install -y python3.11"),
        ("ID=nixos\n", UV),
    ],
)
def test_a_system_is_told_its_own_command_or_uv_where_it_has_no_such_python(
    tmp_path: Path, release: str, mend: str
) -> None:
    machine = Machine(tmp_path, release)
    machine.has_python("python3", (3, 9))
    assert mend_of(machine) == mend


@pytest.mark.parametrize(("has_brew", "mend"), [(True, "brew install python@3.13"), (False, UV)])
def test_macos_with_its_old_python_is_told_to_use_brew_if_it_is_there(
    tmp_path: Path, *, has_brew: bool, mend: str
) -> None:
    machine = Machine(tmp_path, "", system="Darwin")
    machine.release.unlink()
    machine.has_python("python3", (3, 9))
    if has_brew:
        machine.has("brew", "exit 1")
    assert mend_of(machine) == mend


def test_a_newer_python_beside_an_old_one_is_found(tmp_path: Path) -> None:
    machine = Machine(tmp_path, JAMMY)
    machine.has_python("python3", (3, 10))
    machine.has_python("python3.13", (3, 13), venv=False)
    machine.has_python("python3.12", (3, 12))
    done = machine.run("scripts/find-python")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(machine.path / "python3.12"), "")


def test_uv_sets_up_where_python_cannot_and_the_second_start_does_not_ask_it_again(tmp_path: Path) -> None:
    # Given a Python without venv, and uv
    machine = Machine(tmp_path, NOBLE)
    machine.has_python("python3", (3, 12), venv=False)
    machine.has_uv()
    # When the checkout is set up
    first = machine.run("make", "set-up")
    # Then uv makes the environment and installs what is pinned
    assert first.returncode == 0, first
    assert machine.calls() == [
        "uv venv --quiet --python >=3.11 .venv",
        "uv pip install --quiet --python .venv/bin/python -c constraints.txt -e .[dev]",
    ]
    # and the second start says nothing and runs nothing, also where files only look newer, as after a git checkout
    (machine.checkout / "constraints.txt").touch()
    second = machine.run("make", "set-up")
    assert (second.returncode, second.stdout, machine.calls()) == (0, "", [])


def test_a_changed_pin_is_installed_into_the_environment_that_is_there(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.has_uv()
    assert machine.run("make", "set-up").returncode == 0
    machine.calls()
    with (machine.checkout / "constraints.txt").open("a", encoding="ascii") as pins:
        pins.write("# changed\n")
    # When there is no network at that moment
    machine.has_uv(install="exit 1")
    assert machine.run("make", "set-up").returncode == 2
    # Then the environment stays
    assert (machine.checkout / ".venv" / "bin" / "python").exists()
    # and once there is one, the packages are brought up to date in it
    machine.has_uv()
    machine.calls()
    assert machine.run("make", "set-up").returncode == 0
    assert [call.split()[:2] for call in machine.calls()] == [["uv", "pip"]]


def test_a_checkout_that_was_moved_gets_a_new_environment(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.has_uv()
    assert machine.run("make", "set-up").returncode == 0
    machine.calls()
    machine.checkout = machine.checkout.rename(tmp_path / "moved")
    assert machine.run("make", "set-up").returncode == 0
    assert [call.split()[:2] for call in machine.calls()] == [["uv", "venv"], ["uv", "pip"]]


def test_a_set_up_that_fails_in_the_middle_leaves_no_half_made_environment(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.has_uv(install="exit 1")
    assert machine.run("make", "test").returncode == 2
    assert not (machine.checkout / ".venv").exists()


def test_every_target_sets_up_first(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for target in ("demo", "serve", "test", "check", "test-faults", "docs", "format"):
        done = machine.run("make", "-n", target)
        assert done.returncode == 0, done
        assert done.stdout.splitlines()[0] == "scripts/set-up", target


def test_the_makefile_needs_no_newer_make_than_that_of_macos() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    newer = (".ONESHELL", "$(file ", "$(let ", "!=", "::=", "&:", ".RECIPEPREFIX", "--output-sync", ".EXTRA_PREREQS")
    assert [word for word in newer if word in text] == []


# --- what runs on the machine of continuous integration ---------------------------------------------------------------


def test_ci_installs_on_a_clean_machine_what_is_missing_and_then_calls_make_test(tmp_path: Path) -> None:
    # Given a clean Debian 12
    machine = Machine(tmp_path, BOOKWORM, user=0)
    machine.has("apt-get", "exit 0")
    machine.has("make", "exit 0")
    # When continuous integration runs
    done = machine.run(".ci/run")
    # Then Python and Chromium are installed, and nothing else decides what is tested
    assert done.returncode == 0, done
    assert machine.calls() == [
        "apt-get update --quiet",
        "apt-get install --yes --quiet --no-install-recommends python3-venv chromium fonts-noto-core",
        "services",
        "make test",
    ]


def test_ci_installs_nothing_where_everything_is_there(tmp_path: Path) -> None:
    machine = Machine(tmp_path, BOOKWORM, user=0)
    machine.has_python("python3", (3, 11))
    for program in ("apt-get", "make", "chromium"):
        machine.has(program, "exit 0")
    assert machine.run(".ci/run").returncode == 0
    assert machine.calls() == ["services", "make test"]


def test_ci_that_may_not_install_says_what_is_missing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, BOOKWORM, user=1000)
    machine.has_python("python3", (3, 11))
    done = machine.run(".ci/run")
    assert done.returncode == 2
    assert "Mend: sudo apt-get install -y chromium fonts-noto-core" in done.stderr


# --- the second start -------------------------------------------------------------------------------------------------

#: Stands in for the build backend, which a first start fetches: it installs the checkout as it stands.
BACKEND = """
import os, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name, info = "g2g_bus-0.1.0-py3-none-any.whl", "g2g_bus-0.1.0.dist-info"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        wheel.writestr("g2g_bus.pth", os.getcwd())
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: g2g-bus\\nVersion: 0.1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\\nbus = bus.cli:main\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
#: Brings up the loopback of a fresh network namespace, then becomes the command.
WITH_LOOPBACK = """
import fcntl, os, socket, struct, sys
flags_up = struct.pack("16sh14x", b"lo", 0x1 | 0x40)
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, flags_up)
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
except OSError:
    os.execvp(sys.argv[1], sys.argv[1:])
raise SystemExit("there is a network here")
"""


def without_network() -> list[str]:
    """What runs a command where only the loopback exists; nothing on a machine that does not allow that."""
    for unshare in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
        prefix = [*unshare, sys.executable, "-c", WITH_LOOPBACK]
        if (
            shutil.which("unshare")
            and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
        ):
            return prefix
    return []


@pytest.mark.timeout(300)
def test_the_second_make_demo_needs_no_network(tmp_path: Path) -> None:
    # Given a checkout; its first start finds the packages in this test's own environment, in place of an index
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "tests")
    shutil.copytree(ROOT, checkout, ignore=ignored)
    build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    project = (checkout / "pyproject.toml").read_text(encoding="utf-8")
    (checkout / "pyproject.toml").write_text(build + project[project.index("\n[project]") :], encoding="utf-8")
    (checkout / "backend.py").write_text(BACKEND, encoding="utf-8")
    site = next(path for path in sys.path if path.endswith("site-packages"))
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n{sys.executable} "$@" || exit\n'
        f'[ "$1 $2" != "-m venv" ] || for packages in "$3"/lib/python3*/site-packages; do\n'
        f'    echo "{site}" > "$packages/first_start.pth"\ndone\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    # and no way to an index or any other place
    nowhere = "http://127.0.0.1:9"
    ways = ("PIP_INDEX_URL", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "BUS_", "PYTEST_"))}
    environment = {**kept, **dict.fromkeys(ways, nowhere), "PIP_RETRIES": "0", "PYTHON": str(python)}

    def make(target: str, *, prefix: list[str]) -> str:
        done = subprocess.run(
            [*prefix, "make", target], cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "Installing" in make("set-up", prefix=[])
    # When the demo is started again, where nothing but this machine can be reached
    told = make("demo", prefix=without_network())
    # Then nothing is made or installed, and the demo runs to its end
    assert "Making" not in told
    assert "Installing" not in told
    assert "it adds up" in told
