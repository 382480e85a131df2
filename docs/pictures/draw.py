# ruff: noqa: INP001  (a program beside the pictures that it draws)
"""Draws the pictures of docs/architecture.md: ``python docs/pictures/draw.py``, which is a part of ``make docs``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from bus.bootstrap.roles import BUS_ROLES
from bus.message.channel import BUS_USER, host_user
from bus.stores.schema import metadata

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

# Colours for a light and a dark screen; the panel is part of the picture, so that it can be read on any page.
_STYLE = """
    .panel { fill: #ffffff; stroke: #d3dce2; }
    .box { fill: #eef4f7; stroke: #33566b; }
    .pure { fill: #e4f1e6; stroke: #3c6b45; }
    .out { fill: #fbf3e3; stroke: #8a6a2b; }
    .line { stroke: #33566b; stroke-width: 1.6; fill: none; }
    .faint { stroke: #9fb1bc; stroke-dasharray: 3 4; fill: none; }
    .tip { fill: #33566b; }
    .kill { stroke: #b3261e; stroke-width: 1.6; stroke-dasharray: 5 3; }
    text { fill: #1d2b33; font: 14px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
    .small { font-size: 12px; fill: #475a66; }
    .name { font-weight: 600; }
    .code { font: 12px ui-monospace, "DejaVu Sans Mono", monospace; }
    .red { fill: #b3261e; }
    @media (prefers-color-scheme: dark) {
      .panel { fill: #10181d; stroke: #31414b; }
      .box { fill: #1a2830; stroke: #7fa8bf; }
      .pure { fill: #18291c; stroke: #83bd8f; }
      .out { fill: #2b2415; stroke: #d0ac62; }
      .line { stroke: #7fa8bf; }
      .faint { stroke: #46565f; }
      .tip { fill: #7fa8bf; }
      .kill { stroke: #ff8a80; }
      text { fill: #e6eef2; }
      .small { fill: #a9bac4; }
      .red { fill: #ff8a80; }
    }
"""


class Picture:
    """An SVG under construction. Lengths are pixels, the origin is top left."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description">',
            f'  <title id="title">{escape(title)}</title>',
            f'  <desc id="description">{escape(description)}</desc>',
            f"  <style>{_STYLE}  </style>",
            '  <defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"',
            '    orient="auto"><path class="tip" d="M0 0 L10 5 L0 10 z"/></marker></defs>',
            f'  <rect class="panel" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10"/>',
        ]

    def box(self, x: float, y: float, width: float, height: float, kind: str = "box") -> None:
        """A rectangle."""
        self._add(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>')

    def text(self, x: float, y: float, words: str, kind: str = "", *, anchor: str = "middle") -> None:
        """One line of text, its foot at ``y``."""
        of_kind = f' class="{kind}"' if kind else ""
        self._add(f'<text{of_kind} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """A line with a tip at its end."""
        self._add(f'<path class="line" marker-end="url(#tip)" d="M{x1:g} {y1:g} L{x2:g} {y2:g}"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "faint") -> None:
        """A line without a tip."""
        self._add(f'<path class="{kind}" d="M{x1:g} {y1:g} L{x2:g} {y2:g}"/>')

    def done(self) -> str:
        """The whole file."""
        return "\n".join([*self._parts, "</svg>\n"])

    def _add(self, part: str) -> None:
        self._parts.append(f"  {part}")


# --- rooms and floors -------------------------------------------------------------------------------------------------


def layers() -> list[list[str]]:
    """The rooms of each floor, highest first, as the import contracts name them."""
    contracts = _contracts()
    return [[room.strip(" ()") for room in layer.split("|")] for layer in contracts["floors"]["layers"]]


def pure() -> set[str]:
    """The rooms that know no clock, chance, network or SQL."""
    return {name.removeprefix("bus.") for name in _contracts()["pure"]["source_modules"]}


def _contracts() -> Mapping[str, Mapping[str, list[str]]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["id"]: contract for contract in project["tool"]["importlinter"]["contracts"]}


def floors() -> str:
    """The house: each room may use those on lower floors, and never a neighbour."""
    rows, height = layers(), 44
    picture = Picture(
        900,
        60 + height * len(rows),
        "Rooms and floors",
        "From top to bottom: " + "; ".join(", ".join(row) for row in rows) + ". A room imports lower floors only.",
    )
    for number, row in enumerate(rows):
        y, gap = 16 + number * height, 10
        width = (780 - gap * (len(row) - 1)) / len(row)
        for place, room in enumerate(row):
            x = 20 + place * (width + gap)
            picture.box(x, y, width, height - 12, "pure" if room in pure() else "box")
            picture.text(x + width / 2, y + 21, room, "code")
    end = 16 + height * len(rows)
    picture.arrow(840, 20, 840, end - 14)
    picture.text(840, end + 6, "imports", "small")
    picture.box(20, end + 6, 14, 14, "pure")
    picture.text(42, end + 18, "pure: no clock, chance, network or SQL", "small", anchor="start")
    return picture.done()


# --- the life of a request --------------------------------------------------------------------------------------------

_LANES = ("portal", "gateway", "store", "process manager", "broker", "agency host", "legacy system")
#: From lane, to lane, words. The same lane twice is something that it does for itself.
_LIFE: Sequence[tuple[int, int, str]] = (
    (0, 1, "1 submit, with a key"),
    (1, 2, "2 request, facts, tasks"),
    (1, 0, "3 receipt"),
    (3, 4, "4 task"),
    (4, 5, "5 task"),
    (5, 5, "6 journal: received, then acknowledged"),
    (5, 5, "7 journal: intent"),
    (5, 6, "8 one call"),
    (6, 5, "9 raw answer"),
    (5, 5, "10 journal: result and reply"),
    (5, 4, "11 reply"),
    (4, 3, "12 reply"),
    (3, 2, "13 decided, with facts"),
    (3, 4, "14 next tasks, then ack"),
    (2, 1, "15 result in the feed"),
    (1, 0, "16 result"),
    (0, 1, "17 acknowledged"),
)


def life() -> str:
    """One step of one request, from the portal to the legacy system and back."""
    step, lane, top = 34, 154, 56
    picture = Picture(
        40 + lane * len(_LANES),
        top + 34 + step * len(_LIFE),
        "The life of a request",
        ". ".join(f"{_LANES[one]} to {_LANES[two]}: {words}" for one, two, words in _LIFE) + ".",
    )
    middle = [20 + lane * place + lane / 2 for place in range(len(_LANES))]
    bottom = top + step * len(_LIFE) + 14
    for place, name in enumerate(_LANES):
        kind = {0: "out", 2: "pure", 6: "out"}.get(place, "box")
        picture.line(middle[place], top - 8, middle[place], bottom)
        picture.box(middle[place] - 68, 14, 136, 32, kind)
        picture.text(middle[place], 35, name, "name")
    for number, (one, two, words) in enumerate(_LIFE):
        y = top + 22 + step * number
        if one == two:
            picture.box(middle[one] - 118, y - 14, 236, 22, "pure")
            picture.text(middle[one], y + 1, words, "small")
        else:
            picture.arrow(middle[one], y, middle[two], y)
            picture.text((middle[one] + middle[two]) / 2, y - 5, words, "small")
    return picture.done()


# --- where the state lives --------------------------------------------------------------------------------------------


def journal_tables() -> list[str]:
    """The tables of a host's journal."""
    made = re.findall(r"CREATE TABLE (\w+)", (ROOT / "bus/journals/sqlite_schema.py").read_text(encoding="utf-8"))
    # A later step may make one anew.
    return [*dict.fromkeys(made)]


def state() -> str:
    """What must be kept, and what may be lost."""
    places: Sequence[tuple[str, str, str, Iterable[str]]] = (
        ("pure", "store.db", "the truth of the bus; back it up", metadata.tables),
        ("pure", "journals/AGENCY.db", "the truth of one agency host; back it up", journal_tables()),
        ("pure", "secret", "32 bytes from which ids and pseudonyms are made; back it up", ()),
        ("out", "token, url, lock", "for this machine: made again when they are gone", ()),
        ("out", "the broker", "a conveyor: lost queues cost time and no data", ("tasks.*", "control.*", "replies.*")),
        ("box", "the workspace", "routes, contracts, adapters: in git; open requests have theirs in the store", ()),
    )
    laid = [_rows_of(chips, 800) for *_, chips in places]
    heights = [46 + 30 * len(rows) for rows in laid]
    picture = Picture(
        860,
        20 + sum(heights) + 10 * len(heights),
        "Where the state lives",
        " ".join(f"{name}: {words} {', '.join(chips)}." for _, name, words, chips in places),
    )
    y = 16.0
    for (kind, name, words, _), rows, height in zip(places, laid, heights, strict=True):
        picture.box(16, y, 828, height, kind)
        picture.text(30, y + 27, name, "name", anchor="start")
        picture.text(230, y + 27, words, "small", anchor="start")
        for number, row in enumerate(rows):
            for x, width, chip in row:
                picture.box(30 + x, y + 42 + 30 * number, width, 22, "panel")
                picture.text(30 + x + width / 2, y + 57 + 30 * number, chip, "code")
        y += height + 10
    return picture.done()


def _rows_of(words: Iterable[str], most: float) -> list[list[tuple[float, float, str]]]:
    """Chips in rows: (place, width, word)."""
    rows: list[list[tuple[float, float, str]]] = []
    x = most
    for word in words:
        width = 7.4 * len(word) + 18
        if x + width > most:
            rows.append([])
            x = 0.0
        rows[-1].append((x, width, word))
        x += width + 8
    return rows


# --- transactions, acknowledgements and kill points -------------------------------------------------------------------

DO, COMMIT, KILL = "do", "commit", "kill"
#: Who -> what he does in order: an act, a transaction, or a point where the tests kill the process.
ORDER: Mapping[str, Sequence[tuple[str, str]]] = {
    "gateway": (
        (DO, "checks right and contract"),
        (COMMIT, "request, facts, tasks"),
        (DO, "publishes the tasks"),
        (KILL, "gateway.committed"),
        (DO, "gives the receipt"),
        (DO, "a clerk answers"),
        (COMMIT, "reply decided, facts"),
        (KILL, "desk.committed"),
        (DO, "tells the clerk"),
    ),
    "process manager": (
        (DO, "collects up to 100 replies"),
        (KILL, "consumer.collected"),
        (COMMIT, "inbox, state, facts, outbox"),
        (KILL, "process.committed"),
        (DO, "publishes from memory"),
        (KILL, "process.published"),
        (DO, "confirmed: rows may go"),
        (KILL, "process.confirmed"),
        (DO, "acknowledges the replies"),
        (KILL, "process.acknowledged"),
    ),
    "agency host": (
        (DO, "collects tasks"),
        (COMMIT, "journal: received"),
        (KILL, "host.received"),
        (DO, "acknowledges the tasks"),
        (KILL, "host.acknowledged"),
        (COMMIT, "journal: intent"),
        (KILL, "host.intended"),
        (DO, "calls the legacy system"),
        (KILL, "host.called"),
        (DO, "reads the answer"),
        (KILL, "host.read"),
        (COMMIT, "journal: result, reply"),
        (KILL, "host.recorded"),
        (DO, "publishes the reply"),
        (KILL, "host.published"),
        (COMMIT, "journal: confirmed rows go"),
        (KILL, "host.confirmed"),
    ),
    "timekeeper, relay": (
        (DO, "finds timers that are due"),
        (KILL, "timekeeper.due"),
        (COMMIT, "decided, facts, outbox"),
        (COMMIT, "relay leases old rows"),
        (KILL, "relay.claimed"),
        (DO, "publishes them"),
        (KILL, "relay.published"),
        (COMMIT, "confirmed rows go"),
    ),
}


def order() -> str:
    """What is committed before what is acknowledged, and every point where the tests kill the process."""
    lane, step, top = 232, 38, 64
    picture = Picture(
        24 + lane * len(ORDER),
        top + 44 + step * max(map(len, ORDER.values())),
        "Transactions, acknowledgements and kill points",
        ". ".join(f"{who}: {', '.join(words for _, words in acts)}" for who, acts in ORDER.items()) + ".",
    )
    for place, (who, acts) in enumerate(ORDER.items()):
        x = 24 + lane * place
        middle = x + (lane - 24) / 2
        picture.line(middle, 46, middle, top + step * len(acts))
        picture.box(x, 14, lane - 24, 32)
        picture.text(middle, 35, who, "name")
        for number, (kind, words) in enumerate(acts):
            y = top + step * number
            if kind == KILL:
                picture.box(middle - 90, y + 2, 180, 22, "panel")
                picture.line(x, y + 13, middle - 90, y + 13, "kill")
                picture.line(middle + 90, y + 13, x + lane - 24, y + 13, "kill")
                picture.text(middle, y + 17, words, "code red")
            else:
                picture.box(x, y, lane - 24, 28, "pure" if kind == COMMIT else "box")
                picture.text(middle, y + 19, words)
    end = top + 10 + step * max(map(len, ORDER.values()))
    picture.box(24, end, 14, 14, "pure")
    picture.text(46, end + 12, "one transaction, committed", "small", anchor="start")
    picture.line(250, end + 7, 280, end + 7, "kill")
    picture.text(288, end + 12, "the process may be killed here", "small", anchor="start")
    return picture.done()


# --- many machines ----------------------------------------------------------------------------------------------------

#: Role -> what it does; a role that is not told of here cannot be drawn.
ROLES: Mapping[str, str] = {
    "gateway": "HTTP: accepts, asks, answers",
    "process-manager": "settles replies; several",
    "relay": "sends what was left; webhooks",
    "timekeeper": "ticks, timers",
}
#: Who stands behind hosts of their own.
_AGENCIES = ("A", "B")


def machines() -> str:
    """Who connects to whom, and as which user."""
    told = "; ".join(f"{role} ({ROLES[role]})" for role in BUS_ROLES)
    picture = Picture(
        940,
        486,
        "Many machines",
        f"Portals, clerks and operators reach the gateway by HTTPS. The roles of the bus, {told}, reach PostgreSQL and"
        f" RabbitMQ as the user {BUS_USER}, the relay also receivers of webhooks by HTTPS. Inside each agency its hosts"
        f" reach RabbitMQ as {host_user('NAME')}, their own journal and their legacy system, and nothing else.",
    )
    _inside(picture, 20, 60, 252, 372, "network of the bus")
    picture.text(146, 22, "portals, clerks, operators", "small")
    picture.arrow(146, 28, 146, 84)
    picture.text(154, 48, "HTTPS, a token each", "small", anchor="start")
    for number, role in enumerate(BUS_ROLES):
        y = 86 + 78 * number
        picture.box(36, y, 220, 60)
        picture.text(146, y + 25, role, "code")
        picture.text(146, y + 46, ROLES[role], "small")

    of_relay = 116 + 78 * BUS_ROLES.index("relay")
    picture.line(36, of_relay, 28, of_relay, "line")
    picture.line(28, of_relay, 28, 440, "line")
    picture.arrow(28, 440, 28, 458)
    picture.text(20, 475, "receivers of webhooks", "small", anchor="start")
    picture.text(36, 450, "HTTPS, signed", "small", anchor="start")

    picture.box(410, 84, 170, 76, "pure")
    picture.text(495, 117, "PostgreSQL", "name")
    picture.text(495, 138, "the store", "small")
    picture.box(410, 216, 170, 76, "out")
    picture.text(495, 249, "RabbitMQ", "name")
    picture.text(495, 270, "a conveyor", "small")
    for y, words in ((122, "a user of its own"), (254, f"user {BUS_USER}")):
        picture.arrow(272, y, 408, y)
        picture.text(340, y - 7, words, "small")
        picture.text(340, y + 17, "password, TLS", "small")

    for number, agency in enumerate(_AGENCIES):
        top, y = 60 + 200 * number, 150 + 200 * number
        _inside(picture, 716, top, 204, 172, f"agency {agency}")
        for place, (kind, words) in enumerate((("box", "host"), ("pure", "journal"), ("out", "legacy system"))):
            picture.box(732, top + 12 + 44 * place, 172, 34, kind)
            picture.text(818, top + 34 + 44 * place, words, "name")
        picture.line(716, y, 648, y, "line")
        picture.line(648, y, 648, 244 + 20 * number, "line")
        picture.arrow(648, 244 + 20 * number, 582, 244 + 20 * number)
        beside = 188 + 128 * number
        picture.text(640, beside, f"user {host_user(agency)}", "small", anchor="end")
        picture.text(640, beside + 18, "password, TLS", "small", anchor="end")
    return picture.done()


def _inside(picture: Picture, x: float, y: float, width: float, height: float, words: str) -> None:
    """What lies within one wall, and what that is called, at its foot."""
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    for (x1, y1), (x2, y2) in zip(corners, (*corners[1:], corners[0]), strict=True):
        picture.line(x1, y1, x2, y2)
    picture.text(x + width / 2, y + height - 12, words, "small")


#: File beside this one -> what belongs there.
PICTURES: Mapping[str, Callable[[], str]] = {
    "floors.svg": floors,
    "machines.svg": machines,
    "life.svg": life,
    "state.svg": state,
    "order.svg": order,
}


def main() -> None:
    """Write every picture."""
    for name, draw in PICTURES.items():
        (HERE / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
