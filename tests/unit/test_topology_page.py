"""The page for those who run the broker says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from bus.bootstrap.topology import topology_of
from bus.brokers.topology import DELIVERY_LIMIT, MOST_BYTES, may_read, may_write, rights_of_hosts, topology
from bus.catalog import load_workspace
from tests.support.workspaces.copies import copy_of_repository

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "topology.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without the marks of code."""
    _, _, below = PAGE.partition(f"\n## {heading}\n")
    lines = [line for line in below.partition("\n## ")[0].splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines[2:]]
    return [[cell.strip().replace("`", "").replace("\\|", "|") for cell in line] for line in cells]


def test_the_page_names_each_channel_with_who_may_write_and_read_it() -> None:
    told = {row[0].replace("<agency>", "tax"): (row[2], row[3]) for row in rows("The picture")}
    made = topology(["tax"], "bus", 1)

    assert set(told) == {one.name for one in made.declarations}
    for name, (writers, readers) in told.items():
        named = {"agency.tax" if one == "agency.<agency>" else one for one in writers.split(", ")} - {
            "the broker itself"
        }
        assert named == {one.user for one in made.rights if may_write(one, name)}
        # The bus may read what it made; the page says so below the table.
        others = {one.user for one in made.rights if may_read(one, name)} - {"bus"}
        assert {readers.replace("<agency>", "tax")} - {"bus"} == others


def test_the_page_tells_the_rights_of_an_agencys_user() -> None:
    (told,) = (row for row in rows("Who may do what") if row[0] == "agency.<agency>")
    rights = rights_of_hosts("tax")

    assert told[1:] == ["nothing", *(right.replace("tax", "<agency>") for right in (rights.write, rights.read))]


def test_the_page_tells_the_limits_of_a_queue() -> None:
    assert f"after {DELIVERY_LIMIT} deliveries" in PAGE
    assert f"({MOST_BYTES >> 30} GiB)" in PAGE


def test_the_environment_of_the_page_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    root, _ = copy_of_repository(tmp_path)
    file = root / "env" / "prod.yaml"
    written = yaml.safe_load((root / "env" / "test.yaml").read_text(encoding="utf-8"))
    told = yaml.safe_load(block)
    written["broker"] = told["broker"]
    written["agencies"]["tax_authority"]["broker_password"] = told["agencies"]["tax_authority"]["broker_password"]
    file.write_text(yaml.safe_dump(written), encoding="utf-8")

    made = topology_of(load_workspace(root, "prod"))

    assert (made.vhost, made.replicas) == ("bus", 3)
