import pytest
from service.features.faces.engines.circuit_breaker import Breaker

from service.jobs.operation import Postponed


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(clock=clock, fraction=lambda: 0.0)


def fail(breaker, times=1):
    for _ in range(times):
        probe = breaker.enter()
        breaker.failed(probe)
        breaker.leave(probe)


def test_nine_failures_in_a_row_change_nothing_and_the_tenth_opens_it(breaker):
    fail(breaker, 9)
    assert breaker.limit() is None
    fail(breaker)
    assert breaker.limit() == 0
    with pytest.raises(Postponed) as caught:
        breaker.enter()
    assert caught.value.wait == pytest.approx(1.0)


def test_an_answer_between_failures_starts_the_count_again(breaker):
    fail(breaker, 9)
    breaker.succeeded()
    fail(breaker, 9)
    assert breaker.limit() is None


def test_probes_come_after_1_2_4_8_10_and_10_seconds(breaker, clock):
    fail(breaker, 10)
    for seconds in (1, 2, 4, 8, 10, 10, 10):
        clock.now += seconds - 0.01
        assert breaker.limit() == 0
        clock.now += 0.02
        assert breaker.limit() == 1
        fail(breaker)


def test_one_probe_is_let_through_and_the_others_are_postponed(breaker, clock):
    fail(breaker, 10)
    clock.now += 1
    assert breaker.enter() is True
    assert breaker.limit() == 1
    with pytest.raises(Postponed):
        breaker.enter()


def test_a_probe_that_succeeds_closes_it(breaker, clock):
    fail(breaker, 10)
    clock.now += 1
    probe = breaker.enter()
    breaker.succeeded()
    breaker.leave(probe)
    assert breaker.limit() is None
    assert breaker.enter() is False
    fail(breaker, 9)
    assert breaker.limit() is None


def test_a_probe_that_ends_without_a_verdict_frees_its_place(breaker, clock):
    fail(breaker, 10)
    clock.now += 1
    breaker.leave(breaker.enter())
    assert breaker.enter() is True


def test_a_probe_that_hung_for_30_seconds_is_followed_by_the_next_at_once(breaker, clock):
    fail(breaker, 10)
    clock.now += 1
    probe = breaker.enter()
    clock.now += 30
    breaker.failed(probe)
    breaker.leave(probe)
    assert breaker.limit() == 1


def test_calls_that_were_under_way_when_it_opened_do_not_open_it_for_longer(breaker, clock):
    under_way = [breaker.enter() for _ in range(5)]
    fail(breaker, 10)
    for probe in under_way:
        breaker.failed(probe)
    clock.now += 1
    assert breaker.limit() == 1


def test_a_call_that_was_under_way_and_succeeds_closes_it(breaker):
    fail(breaker, 10)
    breaker.succeeded()
    assert breaker.limit() is None


def test_a_pause_lasts_as_long_as_asked_and_then_one_call_goes_first(breaker, clock):
    breaker.pause(7.0)
    assert breaker.limit() == 0
    clock.now += 6.9
    with pytest.raises(Postponed):
        breaker.enter()
    clock.now += 0.2
    assert breaker.limit() == 1
    assert breaker.enter() is True


def test_a_success_under_way_does_not_cut_a_pause_short(breaker, clock):
    breaker.pause(7.0)
    breaker.succeeded()
    assert breaker.limit() == 0
    clock.now += 7
    assert breaker.limit() is None
    assert breaker.enter() is False


def test_pauses_without_a_time_grow_and_those_heard_at_the_same_moment_are_one(breaker, clock):
    waits = []
    for _ in range(4):
        waits.append(breaker.pause(None))
        breaker.pause(None)
        clock.now += waits[-1]
    assert waits == [1, 2, 4, 8]


def test_the_time_that_a_service_asks_for_is_kept_when_it_opens(breaker, clock):
    fail(breaker, 9)
    probe = breaker.enter()
    breaker.failed(probe, wait=20.0)
    clock.now += 19
    assert breaker.limit() == 0
    clock.now += 1
    assert breaker.limit() == 1


def test_chance_shortens_a_wait_by_at_most_a_quarter(clock):
    for fraction, seconds in ((0.0, 1.0), (1.0, 0.75)):
        breaker = Breaker(clock=clock, fraction=lambda fraction=fraction: fraction)
        fail(breaker, 10)
        assert breaker.wait() == pytest.approx(seconds)


def test_it_tells_for_how_long_the_service_has_been_away(breaker, clock):
    assert breaker.outage() == 0
    fail(breaker, 10)
    clock.now += 1
    fail(breaker)
    clock.now += 41
    assert breaker.outage() == pytest.approx(42)
    breaker.succeeded()
    assert breaker.outage() == 0
