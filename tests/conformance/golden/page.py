"""Makes docs/wire.md from the committed messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bus.message.envelope import MessageType
from tests.conformance.golden.messages import NOT_BUILT

_TO_HOST = "the bus → a host, on `tasks.<agency>`"
_TO_BUS = "a host → the bus, on `replies.<agency>`"
_TO_CONSUMER = "the bus → the consumer, in the feed of results and through its webhook"
_OUTCOMES = (
    MessageType.REQUEST_COMPLETED,
    MessageType.REQUEST_PARTIALLY_FULFILLED,
    MessageType.REQUEST_REJECTED,
    MessageType.REQUEST_FAILED,
    MessageType.REQUEST_CANCELLED,
    MessageType.REQUEST_EXPIRED,
)

#: Type -> (who says it to whom and where, what it says).
_ABOUT: Mapping[MessageType, tuple[str, str]] = {
    MessageType.TASK_REQUESTED: (_TO_HOST, "Do this once. `supersedes` names the interaction that it replaces."),
    MessageType.TASK_QUERIED: (_TO_HOST, "What became of this interaction? Never causes an effect."),
    MessageType.TASK_WITHDRAWN: (_TO_HOST, "Do not begin; if it has begun, say how it stands."),
    MessageType.TASK_COMPLETED: (_TO_BUS, "Done; the data obeys the operation's output contract."),
    MessageType.TASK_REFUSED: (_TO_BUS, "The agency's lawful no."),
    MessageType.TASK_RETURNED: (_TO_BUS, "The applicant must bring or mend something; `within` is in seconds."),
    MessageType.TASK_PENDING: (_TO_BUS, "The agency has it and answers later."),
    MessageType.TASK_FAILED: (_TO_BUS, "Not done, with what is known of the effect; `retry_after` is in seconds."),
    MessageType.TASK_UNKNOWN: (_TO_BUS, "It may or may not have happened."),
    MessageType.HOST_STARTED: (_TO_BUS, "A host began: its journal, what it offers (with hashes of the contracts)."),
    MessageType.HOST_ADMITTED: (
        "the bus → a host, on `control.<agency>`",
        "That start may take tasks; `journalseq` is the greatest number that the bus heard of the journal.",
    ),
    MessageType.HOST_ALIVE: (_TO_BUS, "The host runs, and its journal has come to `journalseq`."),
    MessageType.TICK: ("the bus → itself, on `replies.<agency>`", "Proves that the bus hears this channel."),
    MessageType.REQUEST_SUBMITTED: ("a consumer → the gateway, by HTTP", "Asks for a service, once for each `id`."),
    MessageType.REQUEST_RETURNED: (_TO_CONSUMER, "What the applicant must bring, until when."),
    **dict.fromkeys(_OUTCOMES, (_TO_CONSUMER, "The one result.")),
}

_HEAD = """\
<!-- Written by `python -m tests.conformance.golden.versions page`: change tests/conformance/golden/page.py. -->
# On the wire

A message is a CloudEvents 1.0 event in structured JSON, UTF-8, with the content type `application/cloudevents+json`,
at most 256 KiB. Its body alone is the truth: it is built once and stored, sent and sent again as those bytes.
`schemas/envelope/v1.json` has the shape of every attribute, `schemas/reply/` that of the replies' data.

Over AMQP 0-9-1 a message also has `message_id` (the event's `id`), `type`, `correlation_id`, `timestamp` (of
publishing), `user_id` (which RabbitMQ vouches for: `bus`, or `agency.<agency>`), the content type and `delivery_mode`
2. The one header, `signature`, is kept free. The exchange, the queue and the routing key of a channel are all called
like it.

Times are RFC 3339 in UTC with milliseconds, texts in Unicode normal form C, numbers below 2^53. An attribute that has
nothing to say is absent, never null.

## What a later release may do

The messages of each version of the wire are committed in `tests/conformance/golden/`, byte for byte, with what was read
from them. Tests hold three promises:

- Today's code builds exactly the messages of the newest version. A change of the wire is seen, and is a new folder.
- Today's code reads the messages of every version into the same values.
- A host that speaks only the attributes of the first version serves requests beside today's bus, and today's host takes
  the tasks of the first version.

**The envelope is closed: a message with an attribute that the receiver does not know is refused**, kept with its
bytes for a person, and never acted upon. An attribute may carry a condition (`supersedes`: only if the other one left
nothing; `test`: never to a real system), and who passes over it does what nobody asked for. So a new attribute takes
two releases: the first one reads it, the second one writes it, once every host runs the first. The data of refusals,
returns and failures is closed likewise. Open is the data of announcements (a member more is passed over) and the data
of tasks and answers, which the contracts of the operation judge.

A new type of message counts as a new attribute does.
"""


def page(bodies: Mapping[str, bytes], version: str) -> str:
    """The page, from the messages of one version by name."""
    events = [json.loads(body) for body in bodies.values()]
    parts = [_HEAD, f"\n## Messages of {version}\n"]
    parts += ["\nAttributes in brackets are not in every message of the type; `specversion`, `id`, `source` and `type`"]
    parts += [" are in all of them.\n"]
    parts += [_section(kind, [event for event in events if event["type"] == kind]) for kind in _ABOUT]
    unbuilt = ", ".join(f"`{kind}`" for kind in sorted(NOT_BUILT))
    parts.append(f"\nNamed in the envelope's contract and not built yet: {unbuilt}.\n")
    return "".join(parts)


def _section(kind: MessageType, events: Sequence[Mapping[str, Any]]) -> str:
    way, meaning = _ABOUT[kind]
    always = {"specversion", "id", "source", "type", "data", "datacontenttype"}
    attributes = _names([[name for name in event if name not in always] for event in events])
    data = _names([list(event.get("data", {})) for event in events])
    if kind in {MessageType.TASK_REQUESTED, MessageType.TASK_COMPLETED, MessageType.REQUEST_SUBMITTED}:
        data = "as the operation's or the service's contract says"
    shown = max(events, key=len) if events else {}
    text = json.dumps(shown, ensure_ascii=False, indent=2)
    return (
        f"\n### `{kind}`\n\n{way}. {meaning}\n\n- attributes: {attributes}\n- data: {data}\n\n"
        f"<details><summary>an example</summary>\n\n```json\n{text}\n```\n\n</details>\n"
    )


def _names(lists: Sequence[Sequence[str]]) -> str:
    """The names in the order of their first coming; in brackets those that are not everywhere."""
    every = list(dict.fromkeys(name for names in lists for name in names))
    shown = [f"`{name}`" if all(name in names for names in lists) else f"[`{name}`]" for name in every]
    return ", ".join(shown) or "none"
