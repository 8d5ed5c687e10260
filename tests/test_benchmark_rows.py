"""The table of `make bench`: what a row says, and when a run fails."""

import pytest

from benchmarks.row import Bar, Row, in_turns, interval


def test_a_row_has_ratios_of_speeds_in_every_unit() -> None:
    slow = Row("look", "ms", {"ours": [2.0], "peer": [4.0], "limit": [1.0]}, bars=[Bar(1.8), Bar(0.4, "limit")])
    assert str(slow) == "| look | 2 ms | 4 | 1 | 2.00 | 0.50 | 1.8, **missed**; 0.4 of the limit |"
    fast = Row("tasks", "tasks/s", {"ours": [1200.0], "peer": [600.0]}, "lame", [Bar(1000), Bar(2.5, "peer")])
    assert str(fast) == "| tasks | 1,200 tasks/s | 600 lame | – | 2.00 | – | 1,000; 2.5 of the peer, **missed** |"


def test_a_program_that_is_not_installed_is_named() -> None:
    row = Row("MP3", "s of CPU", {"ours": [0.7]}, "lame", [Bar(0.95, "peer")])
    assert str(row) == "| MP3 | 0.7 s of CPU | lame is not installed | – | – | – | 0.95 of the peer |"


@pytest.mark.parametrize(
    ("speed", "pairs", "peer_name", "floor", "fails"),
    [
        (80, 10, "", 0.9, True),
        (95, 10, "", 0.9, False),
        (80, 9, "", 0.9, False),
        (80, 10, "sharp", 0.9, False),
        (80, 10, "", 0.7, False),
    ],
)
def test_a_run_fails_where_ten_pairs_with_the_earlier_commit_lie_below_the_floor(
    speed: float, pairs: int, peer_name: str, floor: float, fails: bool
) -> None:
    found = {"ours": [speed + number % 3 for number in range(pairs)], "peer": [100.0] * pairs}
    assert Row("uploads", "photos/s", found, peer_name, floor=floor).is_slower is fails


def test_an_interval_holds_the_geometric_mean() -> None:
    low, high = interval([0.5, 2.0] * 5)
    assert 0.5 < low < 1 < high < 2


def test_ways_take_turns_in_changing_order_after_a_first_time_that_does_not_count() -> None:
    calls = list[str]()

    def way(name: str) -> int:
        calls.append(name)
        return len(calls)

    assert in_turns(2, {"a": lambda: way("a"), "b": lambda: way("b")}) == {"a": [3, 6], "b": [4, 5]}
    assert calls == ["a", "b", "a", "b", "b", "a"]
