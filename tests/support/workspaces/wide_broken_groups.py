"""Ways to break the wide workspace: its included files and their owners, its groups and their tables of members."""

from __future__ import annotations

from tests.support.workspaces.copies import Edit
from tests.support.workspaces.wide_files import MALL, REGISTRY, REQUEST, TABLE, TOWNS

#: What is broken -> the edits (the mark stands where the fault is told), the code, and words of the mend.
BROKEN_GROUPS: dict[str, tuple[tuple[Edit, ...], str, str]] = {
    # --- Included files and owners
    "an included file without owner": (
        (Edit(file=MALL, old="version: 1\nowner: {team: Trade desk, contact: trade@example.org}", new="☞version: 1"),),
        "missing-name",
        "Add owner.",
    ),
    "an owner whom nobody can reach": (
        (Edit(file=TOWNS, old="{team: Home office, contact: towns@example.org}", new="☞{team: Home office}"),),
        "missing-name",
        "Add contact.",
    ),
    "an included file that includes": (
        (Edit(file=TOWNS, old="groups:", new="☞include: [routes/more.yaml]\ngroups:"),),
        "unknown-name",
        "",
    ),
    "an included file with defaults": (
        (Edit(file=MALL, old="services:", new="☞defaults: {}\nservices:"),),
        "unknown-name",
        "",
    ),
    "a glob that matches nothing": (
        (Edit(old="[routes/*.yaml]", new="[routes/*.yaml, ☞services/*.yaml]"),),
        "nothing-included",
        "Add such a file",
    ),
    "a glob out of the workspace": (
        (Edit(old="[routes/*.yaml]", new="[routes/*.yaml, ☞../*.yaml]"),),
        "bad-include",
        "routes/*.yaml",
    ),
    "an absolute glob": (
        (Edit(old="[routes/*.yaml]", new="[routes/*.yaml, ☞/etc/*.yaml]"),),
        "bad-include",
        "routes/*.yaml",
    ),
    "a glob of another kind of file": (
        (Edit(old="[routes/*.yaml]", new="[routes/*.yaml, ☞groups/*]"),),
        "bad-include",
        "routes/*.yaml",
    ),
    "the same agency in two files": (
        (Edit(file=REGISTRY, old="agencies:\n", new="agencies:\n  ☞portal: {name: {en: P, ar: ب}}\n"),),
        "duplicate-name",
        "Keep one of the two.",
    ),
    "a fault of a path whose step and contract stand in other files": (
        (Edit(file=MALL, old="entry: steps.book.entry", new="entry: ☞steps.book.entri"),),
        "unknown-member",
        "Did you mean entry?",
    ),
    # --- Groups
    "an unknown group": (
        (Edit(file=MALL, old="one_of: towns", new="one_of: ☞town"),),
        "unknown-group",
        "Did you mean towns?",
    ),
    "an agency as a group": (
        (Edit(file=MALL, old="one_of: towns", new="one_of: ☞registry"),),
        "unknown-group",
        "Write provider: registry.",
    ),
    "a group as an agency": (
        (Edit(file=MALL, old="provider: {one_of: branches, by: request.branch}", new="provider: ☞branches"),),
        "group-as-agency",
        "{one_of: branches, by:",
    ),
    "a choice without code": (
        (Edit(file=MALL, old="{one_of: branches, by: request.branch}", new="☞{one_of: branches}"),),
        "missing-name",
        "Add by.",
    ),
    "a code that may be absent": (
        (Edit(file=MALL, old="by: request.branch", new="by: ☞request.spare_branch"),),
        "optional-source",
        "always there",
    ),
    "a code that is no text": (
        (Edit(file=MALL, old="by: request.branch", new="by: ☞request.partners"),),
        "wrong-type",
        "code of one member",
    ),
    "a code that may be null": (
        (
            Edit(file=REQUEST, old='"branch": {"enum": [', new='"branch": {"enum": [null, '),
            Edit(file=MALL, old="by: request.branch", new="by: ☞request.branch"),
        ),
        "wrong-type",
        "code of one member",
    ),
    "a code of a list of answers": (
        (Edit(file=MALL, old="by: request.branch", new="by: ☞steps.partners.town"),),
        "wrong-type",
        "code of one member",
    ),
    "codes that no member has": (
        (
            Edit(file=REGISTRY, old="code: south", new="code: west"),
            Edit(file=MALL, old="by: request.b", new="by: ☞request.b"),
        ),
        "unknown-code",
        "Add the members",
    ),
    "a group that answers nothing": (
        (
            Edit(
                file=TOWNS,
                old="  towns: {name: {en: Towns, ar: المدن}, desk: true,",
                new="  ☞towns: {name: {en: T, ar: ت},",
            ),
        ),
        "no-adapter",
        "adapter: or desk: true",
    ),
    "a group with adapter and desk": (
        (
            Edit(
                file=REGISTRY,
                old="adapter: registry\n    members",
                new="adapter: registry\n    desk: ☞true\n    members",
            ),
        ),
        "two-ways",
        "Keep one",
    ),
    "a member whose desk is taken from it": (
        (
            Edit(
                file=TABLE,
                old="name_ar\n0101,town_east,East Town,المدينة الشرقية\n0102",
                new="name_ar,desk\n0101,town_east,East Town,المدينة الشرقية,☞false\n0102",
            ),
            Edit(file=TABLE, old="المدينة الغربية", new="المدينة الغربية,"),
        ),
        "no-adapter",
        "Leave its desk out.",
    ),
    "a member with the id of an agency": (
        (Edit(file=TABLE, old="town_east", new="☞registry"),),
        "duplicate-name",
        "Give one of them another.",
    ),
    "a member of two groups": (
        (Edit(file=TABLE, old="town_east", new="☞branch_south"),),
        "duplicate-name",
        "Give one of them another.",
    ),
    "a group with the id of an agency": (
        (
            Edit(file=REGISTRY, old="  branches:", new="  ☞portal:"),
            Edit(file=MALL, old="one_of: branches", new="one_of: portal"),
            Edit(file="env/dev.yaml", old="  branches:", new="  portal:"),
        ),
        "duplicate-name",
        "Give one of them another.",
    ),
    "an inline member without name": (
        (
            Edit(
                file=REGISTRY,
                old="{code: north, id: branch_north, name: {en: North branch, ar: الفرع الشمالي}}",
                new="☞{code: north, id: branch_north}",
            ),
        ),
        "missing-name",
        "Add name.",
    ),
    "an operation that the adapter of a group does not offer": (
        (
            Edit(
                file=MALL,
                old="operation: name.reserve.v1\n        input: {name: request.name}",
                new="operation: ☞name.reserv.v1\n        input: {name: request.name}",
            ),
        ),
        "unknown-operation",
        "Did you mean name.reserve.v1?",
    ),
    "an operation that a group of desks has no contract for": (
        (Edit(file=MALL, old="operation: site.permit.v1", new="operation: ☞site.permits.v1"),),
        "unknown-operation",
        "Did you mean site.permit.v1?",
    ),
    # --- Tables of members
    "a table that is not there": (
        (Edit(file=TOWNS, old="groups/towns.csv", new="☞groups/town.csv"),),
        "file-missing",
        "Did you mean groups/towns.csv?",
    ),
    "a table with other columns": (
        (Edit(file=TABLE, old="code,id", new="☞number,id"),),
        "bad-header",
        "code,id,name_en,name_ar",
    ),
    "a table without members": (
        (
            Edit(
                file=TABLE,
                old='0101,town_east,East Town,المدينة الشرقية\n0102,town_west,"West Town, old",المدينة الغربية\n',
                new="☞",
            ),
            Edit(file="env/dev.yaml", old="  town_west: {use: closed}\n", new=""),
        ),
        "no-members",
        "Add a line for each.",
    ),
    "a line with a cell too many": (
        (
            Edit(file=TABLE, old='0102,town_west,"West Town, old"', new="☞0102,town_west,West Town, old"),
            Edit(file="env/dev.yaml", old="  town_west: {use: closed}\n", new=""),
        ),
        "cell-count",
        "quote a cell",
    ),
    "a quote that is not closed": (
        (
            Edit(file=TABLE, old='0102,town_west,"West Town, old"', new='☞0102,town_west,"West Town'),
            Edit(file="env/dev.yaml", old="  town_west: {use: closed}\n", new=""),
        ),
        "bad-line",
        "Quote a cell",
    ),
    "a code that two members have": (
        (Edit(file=TABLE, old="0102,", new="☞0101,"), Edit(file=REQUEST, old='["0101", "0102"]', new='["0101"]')),
        "duplicate-name",
        "Give one of them another.",
    ),
    "a bad id in a table": (
        (
            Edit(file=TABLE, old="town_west", new="☞Town-West"),
            Edit(file="env/dev.yaml", old="  town_west: {use: closed}\n", new=""),
        ),
        "bad-value",
        "small letters",
    ),
    "an empty name behind a quoted comma": (
        (
            Edit(file=TABLE, old='"West Town, old",المدينة الغربية', new='"West ""Town"", old",☞'),
            Edit(file="env/dev.yaml", old="  town_west: {use: closed}\n", new=""),
        ),
        "bad-value",
        "at least one letter",
    ),
}
