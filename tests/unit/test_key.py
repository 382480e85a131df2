"""Keys are positive, fit a signed 64-bit column, grow with time and never come twice."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.message.instant import DAY
from bus.message.key import NODES, ORIGIN, Keys

instants = st.integers(min_value=0, max_value=ORIGIN + 60 * 365 * DAY)
nodes = st.integers(min_value=0, max_value=NODES - 1)
counts = st.lists(st.integers(min_value=0, max_value=5000), min_size=1, max_size=10)


def keys_at(moments: Iterable[int], node: int = 1, after: int = 0) -> Keys:
    """Keys whose clock shows these moments, one a look."""
    return Keys(iter(moments).__next__, node, after=after)


@given(moments=st.lists(instants, min_size=10, max_size=10), node=nodes, takes=counts)
def test_keys_grow_whatever_the_clock_does(moments: list[int], node: int, takes: list[int]) -> None:
    keys = keys_at(moments, node)

    taken = [key for count in takes for key in keys.take(count)]

    assert len(taken) == sum(takes)
    assert all(early < late for early, late in itertools.pairwise([0, *taken]))
    assert all(key < 1 << 63 for key in taken)


@given(moment=instants, node=nodes, other=nodes)
def test_two_nodes_never_give_the_same_key(moment: int, node: int, other: int) -> None:
    mine, theirs = keys_at([moment], node).take(5000), keys_at([moment], other).take(5000)

    assert (set(mine) & set(theirs) != set()) == (node == other)


@given(moment=st.integers(min_value=ORIGIN + 1, max_value=ORIGIN + 60 * 365 * DAY), node=nodes)
def test_a_key_tells_its_millisecond_and_its_node(moment: int, node: int) -> None:
    key = keys_at([moment], node).next()

    assert (ORIGIN + (key >> 22), key >> 12 & 1023, key & 4095) == (moment, node, 0)


@given(first=instants, second=instants, mine=nodes, theirs=nodes)
def test_keys_after_a_key_are_greater_than_it(first: int, second: int, mine: int, theirs: int) -> None:
    last = keys_at([first], mine).take(10)[-1]

    following = keys_at([second], theirs, after=last).next()

    assert following > last


def test_the_first_key_is_positive_also_with_a_clock_before_the_origin() -> None:
    assert keys_at([0]).next() > 0
    assert keys_at([ORIGIN], node=0).next() > 0


def test_one_millisecond_has_4096_keys_and_then_lends_from_the_next() -> None:
    keys = keys_at([ORIGIN + 7] * 2)

    within, beyond = keys.take(4096), keys.next()

    assert {key >> 22 for key in within} == {7}
    assert beyond >> 22 == 8


def test_threads_that_ask_at_once_never_get_the_same_key() -> None:
    taken: list[int] = []
    rival = threading.Thread(target=lambda: taken.append(keys.next()))

    def clock() -> int:
        """Lets a rival in while the first key is being made."""
        if threading.current_thread() is not rival:
            rival.start()
            rival.join(0.2)
        return ORIGIN

    keys = Keys(clock, 1)
    taken.append(keys.next())
    rival.join()

    assert len(set(taken)) == 2


@pytest.mark.parametrize("node", [-1, NODES])
def test_a_node_that_does_not_fit_is_refused(node: int) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 1023"):
        Keys(lambda: ORIGIN, node)


def test_fewer_than_no_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="-1 keys"):
        keys_at([ORIGIN]).take(-1)


def test_when_41_bits_of_time_are_used_up_no_wrong_key_is_given() -> None:
    keys = keys_at([ORIGIN + (1 << 41) - 1, ORIGIN + (1 << 41), ORIGIN + (1 << 41)])

    assert keys.next() < 1 << 63
    with pytest.raises(OverflowError, match="2093"):
        keys.next()
