"""Ways to break the wide workspace: its lists, conditions, test persons and environments."""

from __future__ import annotations

from tests.support.workspaces.copies import Edit
from tests.support.workspaces.wide_files import MALL, PERSONS, REQUEST

#: What is broken -> the edits (the mark stands where the fault is told), the code, and words of the mend.
BROKEN_LISTS: dict[str, tuple[tuple[Edit, ...], str, str]] = {
    # --- Lists
    "a list without most": (
        (Edit(file=MALL, old="for_each: request.partners\n        most: 5\n", new="☞for_each: request.partners\n"),),
        "missing-name",
        "Add most",
    ),
    "most without a list": (
        (Edit(file=MALL, old="final: true", new="final: true\n        ☞most: 5"),),
        "missing-name",
        "Add for_each",
    ),
    "more items than any step may have": ((Edit(file=MALL, old="most: 10", new="most: ☞1001"),), "bad-value", ""),
    "a list that is longer than most": (
        (Edit(file=MALL, old="most: 10", new="most: ☞9"),),
        "list-too-long",
        "Write 10",
    ),
    "a list without limit": (
        (
            Edit(file=REQUEST, old='"maxItems": 3, ', new=""),
            Edit(file=MALL, old="for_each: request.tags", new="for_each: ☞request.tags"),
        ),
        "unlimited-list",
        "Add maxItems (at most 3) to it in schemas/service/open-mall.v1.request.json.",
    ),
    "a list that is none": (
        (Edit(file=MALL, old="for_each: request.tags", new="for_each: ☞request.name"),),
        "wrong-type",
        "Read a list",
    ),
    "a list that may be null": (
        (
            Edit(file=REQUEST, old='"type": "array", "maxItems": 3', new='"type": ["array", "null"], "maxItems": 3'),
            Edit(file=MALL, old="for_each: request.tags", new="for_each: ☞request.tags"),
        ),
        "wrong-type",
        "Read a list",
    ),
    "a list with prefixItems": (
        (
            Edit(file=REQUEST, old='"maxItems": 3, "items"', new='"maxItems": 3, "prefixItems": [{}], "items"'),
            Edit(file=MALL, old="for_each: request.tags", new="for_each: ☞request.tags"),
        ),
        "not-supported",
        "with items:",
    ),
    "a list of the answers about items": (
        (Edit(file=MALL, old="for_each: request.tags", new="for_each: ☞steps.permits.number"),),
        "list-of-answers",
        "done once",
    ),
    "a list of each item's item": (
        (Edit(file=MALL, old="for_each: request.tags", new="for_each: ☞item.tags"),),
        "no-item",
        "request or steps",
    ),
    "an unknown member of the item": (
        (Edit(file=MALL, old="number: item.number", new="number: ☞item.numbr"),),
        "unknown-member",
        "Did you mean number?",
    ),
    "a member of the item of another type": (
        (Edit(file=MALL, old="number: item.number", new="number: ☞item.age"),),
        "wrong-type",
        "of that type",
    ),
    "a record of the item": (
        (Edit(file=MALL, old="number: item.number", new="number: ☞item.address"),),
        "whole-record",
        "one by one",
    ),
    "a whole record as item": (
        (Edit(file=MALL, old="number: item.number", new="number: ☞item"),),
        "whole-record",
        "one by one",
    ),
    "a member of the item that may be absent": (
        (Edit(file=MALL, old="address: item.address}\n        comp", new="address: ☞item.code}\n        comp"),),
        "optional-source",
        "",
    ),
    "a condition on an item": (
        (Edit(file=MALL, old="path: request.level", new="path: ☞item.level"),),
        "no-item",
        "request or steps",
    ),
    "a condition on a list of answers": (
        (
            Edit(file=MALL, old="when: {path: request.level, in: [gold, silver]}", new="when: ☞steps.partners.known"),
            Edit(file=MALL, old="needs: [permits]\n", new="needs: [permits, partners]\n"),
        ),
        "list-as-condition",
        "done once",
    ),
    "an item outside its step": (
        (Edit(file=MALL, old="name: request.name, permits", new="name: ☞item.name, permits"),),
        "no-item",
        "",
    ),
    "answers about items as a single value": (
        (Edit(file=MALL, old="entry: steps.book.entry", new="entry: ☞steps.permits.number"),),
        "wrong-type",
        "take a list there",
    ),
    "answers about items in a list of another type": (
        (Edit(file=MALL, old="permits: steps.permits.number}", new="ages: ☞steps.permits.number}"),),
        "wrong-type",
        "of that type",
    ),
    "answers about more items than the list takes": (
        (Edit(file=MALL, old="entry: steps.book.entry", new="names: ☞steps.permits.number"),),
        "list-too-long",
        "agree",
    ),
    "answers about items of a list that may be empty": (
        (
            Edit(file=REQUEST, old='"minItems": 1,', new=""),
            Edit(
                file=MALL,
                old="permits: steps.permits.number\n      entry",
                new="permits: ☞steps.permits.number\n      entry",
            ),
        ),
        "skipped-source",
        "always has output",
    ),
    # --- Conditions
    "a condition that no request meets": (
        (Edit(file=MALL, old="in: [gold, silver]", new="in: [gold, ☞sliver]"),),
        "wrong-value",
        "silver?",
    ),
    "a condition without values": ((Edit(file=MALL, old="in: [gold, silver]", new="in: ☞[]"),), "bad-value", ""),
    # --- Test persons
    "a person of an unknown agency": (
        (Edit(file=PERSONS, old="agency: towns", new="agency: ☞town"),),
        "unknown-agency",
        "Did you mean towns?",
    ),
    "a number without quotes": ((Edit(file=PERSONS, old='"9002"', new="☞9002"),), "wrong-kind", "Write a text."),
    "an unknown behaviour": (
        (Edit(file=PERSONS, old="behaviour: late", new="behaviour: ☞lat"),),
        "not-a-choice",
        "Did you mean late?",
    ),
    "a number of two persons": (
        (Edit(file=PERSONS, old='"9002"', new='☞"9001"'),),
        "person-twice",
        "Give one of them another.",
    ),
    "a day that is none": (
        (Edit(file=PERSONS, old="1982-02-14", new="☞1982-02-30"),),
        "bad-value",
        "a day of the calendar",
    ),
    "a person without a name in Arabic": (
        (Edit(file=PERSONS, old="{en: B, ar: ب}", new="☞{en: B}"),),
        "missing-name",
        "Add ar.",
    ),
    "no list of persons": (
        (Edit(file=PERSONS, old="persons:\n", new="☞people:\n"),),
        "unknown-name",
        "Known: persons.",
    ),
    # --- Environments
    "an unknown group in the environment": (
        (Edit(file="env/dev.yaml", old="  branches:", new="  ☞branchs:"),),
        "unknown-agency",
        "Did you mean branches?",
    ),
    "a group of desks used as a real system": (
        (Edit(file="env/dev.yaml", old="  town_west: {use: closed}", new="  towns: {use: ☞real}"),),
        "no-adapter",
        "desk or closed",
    ),
    "a setting that the adapter of a group has not": (
        (Edit(file="env/dev.yaml", old="{database: branch.db,", new="{database: branch.db, ☞atempts: 3,"),),
        "unknown-name",
        "attempts?",
    ),
}
