"""Ways to break the environment of the small workspace, and what its manifests and journals promise."""

from __future__ import annotations

from tests.support.workspaces.copies import Edit

#: What is broken -> the edit (the mark stands where the fault is told), the code, and words of the mend.
BROKEN_ENVIRONMENTS: dict[str, tuple[Edit, str, str]] = {
    "an unknown interval": (
        Edit(file="env/dev.yaml", old="tick_every: 2s", new="☞tick_evry: 2s"),
        "unknown-interval",
        "tick_every?",
    ),
    "an interval that is none": (
        Edit(file="env/dev.yaml", old="tick_every: 2s", new="tick_every: ☞2"),
        "bad-interval",
        "",
    ),
    "an environment's unknown agency": (
        Edit(file="env/dev.yaml", old="  office:", new="  ☞offise:"),
        "unknown-agency",
        "Did you mean office?",
    ),
    "a desk used as a real system": (
        Edit(file="env/dev.yaml", old="{use: desk}", new="{use: ☞real}"),
        "no-adapter",
        "desk or closed",
    ),
    "a consumer that is reached": (
        Edit(file="env/dev.yaml", old="  office: {use: desk}", new="  ☞portal: {use: closed}"),
        "not-a-provider",
        "Take it out.",
    ),
    "an unknown use": (
        Edit(file="env/dev.yaml", old="use: real", new="use: ☞reel"),
        "not-a-choice",
        "Did you mean real?",
    ),
    "a setting that the adapter has not": (
        Edit(file="env/dev.yaml", old="      database:", new="      ☞atempts: 3\n      database:"),
        "unknown-name",
        "attempts?",
    ),
    "a missing setting": (
        Edit(file="env/dev.yaml", old="      database: legacy.db\n      password:", new="      ☞password:"),
        "missing-name",
        "Add database.",
    ),
    "a setting of the wrong kind": (
        Edit(file="env/dev.yaml", old="legacy.db", new="☞7"),
        "wrong-kind",
        "Write a text.",
    ),
    "a secret in clear": (
        Edit(file="env/dev.yaml", old="{env: REGISTRY_PASSWORD}", new="☞tiger"),
        "secret-in-clear",
        "in the history",
    ),
    "an operation without repeat": (
        Edit(file="adapters/registry/manifest.yaml", old="{repeat: at_most_once, timeout", new="☞{timeout"),
        "missing-name",
        "Add repeat.",
    ),
    "an absence believed while a call may be under way": (
        Edit(
            file="env/dev.yaml",
            old="intervals:",
            new="intervals:\n  lease: 26s",
        ),
        "proof-too-soon",
        "absence_proof_after to 31s",
    ),
    "a journal that forgets before a request is over": (
        Edit(file="env/dev.yaml", old="intervals:", new="intervals:\n  keep_journal: ☞10d"),
        "journal-too-short",
        "keep_journal well above 10d",
    ),
    "a step that is undone long after the journal has forgotten it": (
        Edit(old="attempts: 20, deadline: 2h", new="attempts: 20, deadline: 401d"),
        "journal-too-short",
        "keep_journal well above 401d",
    ),
    "a manifest of another folder": (
        Edit(file="adapters/registry/manifest.yaml", old="id: registry", new="id: ☞register"),
        "wrong-id",
        "Write registry.",
    ),
}
