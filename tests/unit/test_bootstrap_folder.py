"""The folder of an installation: where it cannot be used, a person is told which one, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bus.bootstrap.folder import claimed
from bus.cli import main
from bus.errors import ConfigurationError


def is_a_file(data: Path) -> Path:
    data.touch()
    return data


def is_below_a_file(data: Path) -> Path:
    data.touch()
    return data / "bus"


def has_a_folder_for_a_lock(data: Path) -> Path:
    (data / "lock").mkdir(parents=True)
    return data


@pytest.mark.parametrize("spoilt", [is_a_file, is_below_a_file, has_a_folder_for_a_lock])
def test_a_folder_that_cannot_be_used_is_named_with_the_mend(spoilt: Callable[[Path], Path], tmp_path: Path) -> None:
    data = spoilt(tmp_path / "data")
    with pytest.raises(ConfigurationError) as refused, claimed(data):
        raise AssertionError("it was claimed")
    (fault,) = refused.value.faults
    assert (fault.code, fault.file) == ("data-unusable", str(data))
    assert "--data" in fault.mend


def test_the_command_line_tells_it_in_both_languages_and_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = is_below_a_file(tmp_path / "data")
    (tmp_path / "backup").touch()
    code = main(["store", "restore", str(tmp_path / "backup"), "--workspace", str(tmp_path), "--data", str(data)])
    told = capsys.readouterr().err
    assert code == 2
    assert told.startswith(f"bus: {data}: The folder of the bus cannot be used: Not a directory. Name a folder")
    assert "سمِّ مجلدًا" in told
