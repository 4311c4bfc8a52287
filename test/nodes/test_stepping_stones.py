"""Replaced frames between two processed ones: which serve as keyframes, and that none is lost."""

from hypothesis import given
from hypothesis import strategies as st

from img2three_ros.nodes.stepping_stones import SteppingStones


def test_oldest_and_newest_give_a_long_and_a_short_baseline():
    stones = SteppingStones[int](size=4)
    assert [list(stones.add(number)) for number in (1, 2, 3, 4, 5)] == [[], [], [], [], [1]]
    assert stones.take(lambda number: number < 9) == ([2, 5], [3, 4])
    assert stones.take(lambda number: number < 9) == ([], [])


def test_one_alone_serves_once_and_later_ones_wait():
    stones = SteppingStones[int]()
    stones.add(3)
    stones.add(8)
    assert stones.take(lambda number: number < 5) == ([3], [])
    assert stones.clear() == [8] and stones.clear() == []


@given(st.lists(st.integers(0, 30)), st.integers(0, 30))
def test_every_item_is_given_back_exactly_once(items, limit):
    stones = SteppingStones[int](size=3)
    given_back = [dropped for item in items for dropped in stones.add(item)]
    chosen, unused = stones.take(lambda number: number < limit)
    given_back += [*chosen, *unused, *stones.clear()]
    assert sorted(given_back) == sorted(items) and len(chosen) <= 2
