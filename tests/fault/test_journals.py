"""A journal that is lost or put back after an effect and before its reply: an alarm, and never a second effect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.killpoint import KillPoint
from tests.support.installation import Installation
from tests.support.ledgers import assert_all_is_well, doubled

#: The effect has happened and the bus does not know: not recorded; recorded and not sent.
AFTER_THE_EFFECT: tuple[KillPoint, ...] = ("host.called", "host.recorded")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("journals")) as running:
        yield running


@pytest.fixture
def bus(shared: Installation) -> Installation:
    """One that has carried out a request since its start, so that numbers of its journal were heard."""
    if not shared.is_alive:
        shared.restart()
    return shared


def served(bus: Installation, key: str) -> None:
    assert bus.drive(bus.submit(key, premises=False)) == "completed"


def backed_up(bus: Installation, backup: Path) -> None:
    """Back up between two lives of the bus."""
    bus.kill()
    bus.save_journal(backup)
    bus.start()


def killed_after_the_effect(bus: Installation, key: str, point: KillPoint) -> str:
    """The registry has reserved the name, and the bus died before it heard of it; the request's id."""
    before = len(bus.ledger.entries())
    bus.arm(point)
    request = bus.submit_to_death(key, premises=False)
    assert len(bus.ledger.entries()) == before + 1
    return request


@pytest.mark.parametrize("point", AFTER_THE_EFFECT)
def test_a_deleted_journal_raises_an_alarm_and_causes_no_second_effect(bus: Installation, point: KillPoint) -> None:
    served(bus, f"before-deleted-{point}")
    request = killed_after_the_effect(bus, f"deleted-{point}", point)
    effects = len(bus.ledger.entries())

    # When the bus starts with no journal
    bus.lose_journal()
    bus.start()

    # Then its host is not admitted, operators are told why, and the step waits
    bus.wait_for_failure("second_journal")
    assert bus.state(request) == "open"
    assert len(bus.ledger.entries()) == effects

    # When an operator declares the old one lost, what had happened is looked up
    bus.retire_journal()
    assert bus.drive(request) == "completed"
    assert_all_is_well(bus)


@pytest.mark.parametrize("point", AFTER_THE_EFFECT)
def test_a_journal_that_was_declared_restored_causes_no_second_effect(
    bus: Installation, tmp_path: Path, point: KillPoint
) -> None:
    served(bus, f"before-restored-{point}")
    backed_up(bus, tmp_path / "backup")
    request = killed_after_the_effect(bus, f"restored-{point}", point)

    # When the backup is put back as the manual says
    bus.put_back_journal(tmp_path / "backup")
    bus.restore_journal()
    bus.start()

    # Then it is another journal, and an operator must say that the first is lost
    bus.wait_for_failure("second_journal")
    bus.retire_journal()
    assert bus.drive(request) == "completed"
    assert_all_is_well(bus)


@pytest.mark.parametrize("point", AFTER_THE_EFFECT)
def test_a_journal_put_back_by_hand_is_found_out_by_its_number(
    bus: Installation, tmp_path: Path, point: KillPoint
) -> None:
    # Given a backup, and numbers beyond it that the bus has heard
    served(bus, f"before-hand-{point}")
    backed_up(bus, tmp_path / "backup")
    served(bus, f"beyond-hand-{point}")
    request = killed_after_the_effect(bus, f"hand-{point}", point)

    # When the backup is put back and nobody is told
    bus.put_back_journal(tmp_path / "backup")
    bus.start()

    # Then the bus tells, and the host goes on under a new identity once an operator allows it
    bus.wait_for_failure("journal_rolled_back")
    bus.wait_for_failure("second_journal")
    bus.retire_journal()
    assert bus.drive(request) == "completed"
    assert_all_is_well(bus)


def test_a_retired_journal_never_comes_back(bus: Installation, tmp_path: Path) -> None:
    # Given a journal that was declared lost and replaced
    served(bus, "before-retired")
    bus.kill()
    bus.save_journal(tmp_path / "old")
    bus.lose_journal()
    bus.start()
    bus.wait_for_failure("second_journal")
    bus.retire_journal()
    served(bus, "with-the-new-one")

    # When the old one is found again and put back
    bus.kill()
    bus.save_journal(tmp_path / "new")
    bus.put_back_journal(tmp_path / "old")
    bus.start()
    request = bus.submit("nobody-serves", premises=False)

    # Then its host is refused, and the step waits for the right one
    bus.wait_for_failure("retired_journal")
    assert bus.state(request) == "open"
    bus.kill()
    bus.put_back_journal(tmp_path / "new")
    bus.start()
    assert bus.drive(request) == "completed"
    assert_all_is_well(bus)


@pytest.mark.parametrize("point", ["host.intended", "host.called"])
def test_what_cannot_be_asked_for_is_shown_as_unknown_and_never_done_again(tmp_path: Path, point: KillPoint) -> None:
    # Given operations of which nobody can tell whether they happened
    with Installation(tmp_path, repeat="at_most_once") as bus:
        served(bus, "before")
        happened = {"host.intended": 0, "host.called": 1}[point]
        effects = len(bus.ledger.entries()) + happened

        # When the bus dies after the intent, without the effect or with it
        bus.arm(point)
        request = bus.submit_to_death("doubtful", premises=False)
        bus.start()

        # Then the truth is shown, a replay asks and does nothing, and a person ends it
        failure = bus.wait_for_failure("unknown", request_id=request)
        assert_all_is_well(bus, parked=1)
        bus.insist(lambda: bus.operator.failure_replay(int(failure["failure"]), reason="try it"))
        bus.wait_for_failure("unknown", request_id=request)
        assert len(bus.ledger.entries()) == effects
        assert bus.state(request) == "open"

        # And also when the journal is lost on top
        bus.kill()
        bus.lose_journal()
        bus.start()
        bus.wait_for_failure("second_journal")
        bus.retire_journal()
        failure = bus.wait_for_failure("unknown", request_id=request)
        bus.insist(lambda: bus.operator.failure_giveup(int(failure["failure"]), reason="the registry was asked"))
        assert bus.drive(request) == "failed"
        assert len(bus.ledger.entries()) == effects


def test_residual_risk_a_journal_put_back_by_hand_that_lost_only_an_unheard_intent_does_it_again(
    tmp_path: Path,
) -> None:
    # Given a host whose signs of life are too rare to tell the number of the intent
    with Installation(tmp_path / "by-hand", intervals={"alive_every": "60s", "dead_after": "120s"}) as bus:
        request = intent_lost_unheard(bus, tmp_path / "backup-1")
        bus.start()
        bus.drive(request)

        # Nothing tells this journal from one that lost nothing; hence the command for restored ones.
        assert sorted(doubled(bus.ledger).values()) == [2]
        assert "journal_rolled_back" not in bus.codes()


def test_the_same_journal_declared_as_restored_does_it_once(tmp_path: Path) -> None:
    with Installation(tmp_path / "declared") as bus:
        request = intent_lost_unheard(bus, tmp_path / "backup-2")
        bus.restore_journal()
        bus.start()
        bus.wait_for_failure("second_journal")
        bus.retire_journal()

        assert bus.drive(request) == "completed"
        assert_all_is_well(bus)


def intent_lost_unheard(bus: Installation, backup: Path) -> str:
    """A backup put back by hand after an effect that the bus has heard nothing of; the request's id."""
    served(bus, "before")
    backed_up(bus, backup)
    request = killed_after_the_effect(bus, "unheard", "host.called")
    bus.put_back_journal(backup)
    return request
