"""Registering twins: a row for each child, at the one office of the birthplace that the request names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.client import Client
from bus.errors import InvalidMessageError
from bus.operations.caller import Role
from tests.support.gateway_rig import PORTAL, ROOT, Rig, gateway

NEWBORN, OFFICE, HEALTH = "register-newborn.v1", "civil_office_coast", "health_ministry"
TWINS: dict[str, Any] = json.loads((ROOT / "docs" / "samples" / "register-newborn.json").read_bytes())


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with gateway(tmp_path) as made:
        yield made


def submitted(portal: Client, data: dict[str, Any] = TWINS) -> str:
    return str(portal.submit(NEWBORN, data, key="twins")["request_id"])


def record(clerk: Client, row: str, number: str) -> None:
    clerk.desk_claim(int(row))
    clerk.desk_answer(int(row), {"certificate_number": number, "recorded_on": "2026-11-04"})


def test_each_child_is_recorded_at_the_office_of_the_birthplace_and_the_parents_get_all_certificates(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal, rig.client(Role.CLERK, OFFICE) as office:
        # Given twins, and the office that the request names
        request = submitted(portal)
        rows = office.desk_list()["items"]
        assert [(line["step"], line["item"]) for line in rows] == [("record", 0), ("record", 1)]
        # When its clerk records both, the second child first
        record(office, rows[1]["row"], "B-2")
        assert office.desk_claim(int(rows[0]["row"]))["data"]["given_name"] == "ليلى"
        record(office, rows[0]["row"], "B-1")
        # Then the ministry is asked about each child, and the result has the answers in the order of the children
        with rig.client(Role.CLERK, HEALTH) as ministry:
            for card, line in enumerate(ministry.desk_list()["items"]):
                ministry.desk_claim(int(line["row"]))
                ministry.desk_answer(int(line["row"]), {"card_number": f"V-{card}"})
        view = portal.request_show(request)
        assert view["state"] == "completed"
        assert view["result"]["data"]["result"] == {"certificates": ["B-1", "B-2"], "vaccination_cards": ["V-0", "V-1"]}
        assert [(step["step"], step["item"]) for step in view["steps"]] == [
            ("record", 0),
            ("record", 1),
            ("vaccination", 0),
            ("vaccination", 1),
        ]
        assert rig.parts.store.recount() == ()


def test_no_other_office_sees_the_children(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal, rig.client(Role.CLERK, "civil_office_north") as north:
        submitted(portal)
        assert north.desk_list()["items"] == []


def test_a_paper_that_is_missing_for_one_child_is_brought_for_that_child(rig: Rig) -> None:
    with rig.client(Role.CONSUMER, PORTAL) as portal, rig.client(Role.CLERK, OFFICE) as office:
        # Given both children sent back to the parents
        request = submitted(portal)
        words = {"en": "The father is not named.", "ar": "لم يُذكر الأب."}
        need = {"pointer": "/father_id", "reason_code": "father_missing", "text": words}
        for line in office.desk_list()["items"]:
            office.desk_claim(int(line["row"]))
            office.desk_return(int(line["row"]), needs=[need])
        asked = portal.request_show(request)["asked"]
        assert [(one["step"], one["item"], one["question"]["needs"][0]["text"]["ar"]) for one in asked] == [
            ("record", 0, "لم يُذكر الأب."),
            ("record", 1, "لم يُذكر الأب."),
        ]
        # When they answer without saying for whom, they are told what to name
        with pytest.raises(InvalidMessageError, match=r"record/0, record/1") as refused:
            portal.request_supplement(request, {"/father_id": "95000000000001"})
        assert refused.value.code == "step-needed"
        # Then each child is supplemented alone
        portal.request_supplement(request, {"/father_id": "95000000000001"}, item=1)
        assert [(one["step"], one["item"]) for one in portal.request_show(request)["asked"]] == [("record", 0)]


def test_an_office_that_nobody_knows_is_refused_before_anything_is_accepted(rig: Rig) -> None:
    stranger = {**TWINS, "birth": {**TWINS["birth"], "office": "77"}}
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        with pytest.raises(InvalidMessageError) as refused:
            submitted(portal, stranger)
        told = [(fault.code, fault.pointer) for fault in refused.value.faults]
        assert told == [("provider-unknown", "/birth/office")]
        assert portal.request_list()["items"] == []
