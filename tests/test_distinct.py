"""Counting the rooms of a cluster from samples."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from sanic_chat.distinct import MAX_SAMPLE, MAX_UNION, DistinctSample, DistinctUnion


def rooms(start: int, stop: int) -> list[bytes]:
    return [b"realtime:room:%d" % number for number in range(start, stop)]


def sample_of(items: Iterable[bytes]) -> DistinctSample:
    sample = DistinctSample()
    for item in items:
        sample.add(item)
    return sample


def count(*samples: DistinctSample) -> tuple[int, bool]:
    union = DistinctUnion()
    for sample in samples:
        union.add(sample.level, sorted(sample.hashes))
    return union.count()


def test_no_samples():
    """A cluster without pods, or with empty ones, has no rooms, and knows that exactly."""
    assert count() == (0, True)
    assert count(DistinctSample(), DistinctSample()) == (0, True)


@pytest.mark.parametrize("size", [1, 100, MAX_SAMPLE])
def test_it_is_exact_up_to_512(size: int):
    """Up to 512 rooms are counted exactly."""
    sample = sample_of(rooms(0, size))
    assert count(sample) == (size, True)
    assert sample.size == size


@pytest.mark.parametrize("size", [MAX_SAMPLE + 1, 2_000, 20_000])
def test_beyond_it_is_an_estimate(size: int):
    """More rooms are estimated within 20 %, from a sample that stays small."""
    sample = sample_of(rooms(0, size))
    estimate, exact = count(sample)
    assert not exact
    assert estimate == pytest.approx(size, rel=0.2)
    assert len(sample.hashes) <= MAX_SAMPLE
    assert sample.size == size


def test_rooms_on_several_pods_count_once():
    """The union of small samples is exact: common rooms count once."""
    assert count(sample_of(rooms(0, 300)), sample_of(rooms(200, 400))) == (400, True)


def test_exact_samples_merge_exactly():
    """Two exact samples of more than 512 rooms together are still exact."""
    assert count(sample_of(rooms(0, 400)), sample_of(rooms(400, 800))) == (800, True)


def test_the_union_of_many_is_bounded():
    """Exact samples of a thousand pods make an estimate within 5 %, of which little is kept."""
    size = 2 * MAX_UNION
    union = DistinctUnion()
    for start in range(0, size, MAX_SAMPLE):
        union.add(0, sample_of(rooms(start, start + MAX_SAMPLE)).hashes)
    estimate, exact = union.count()
    assert not exact
    assert estimate == pytest.approx(size, rel=0.05)
    assert len(union._hashes) <= MAX_UNION


@pytest.mark.parametrize(
    ("first", "second", "union"),
    [
        pytest.param((0, 15_000), (5_000, 20_000), 20_000, id="overlapping"),
        pytest.param((0, 10_000), (10_000, 20_000), 20_000, id="apart"),
        pytest.param((0, 20_000), (0, 100), 20_000, id="large and small, one within the other"),
    ],
)
def test_estimates_merge(first: tuple[int, int], second: tuple[int, int], union: int):
    """Samples of different levels merge into an estimate of the union, in any order."""
    samples = sample_of(rooms(*first)), sample_of(rooms(*second))
    estimate, exact = count(*samples)
    assert not exact
    assert estimate == pytest.approx(union, rel=0.2)
    assert count(*reversed(samples)) == (estimate, exact)


def test_discarding_from_an_exact_sample():
    """A room that is gone counts no more."""
    items = rooms(0, 100)
    sample = sample_of(items)
    for gone in items[:60]:
        sample.discard(gone, items)
    assert count(sample) == (40, True)
    assert sample.size == 40


def test_the_level_sinks_again():
    """When most rooms are gone the count is exact again."""
    items = rooms(0, 20_000)
    sample = sample_of(items)
    assert sample.level > 0
    left = set(items)
    for gone in items[100:]:
        left.discard(gone)
        sample.discard(gone, left)
    assert (sample.level, sample.size) == (0, 100)
    assert count(sample) == (100, True)


def test_estimates_hold_while_rooms_go():
    """At every size on the way down the estimate stays within 25 %."""
    items = rooms(0, 20_000)
    sample = sample_of(items)
    left = set(items)
    for gone in items[1_000:]:
        left.discard(gone)
        sample.discard(gone, left)
        if len(left) % 1_000 == 0:
            assert count(sample)[0] == pytest.approx(len(left), rel=0.25)


def test_the_rest_is_read_only_when_the_sample_is_thin():
    """Discarding does not look at the other rooms as long as the sample is large."""

    def never() -> Iterable[bytes]:
        raise AssertionError("the rest was read")
        yield

    items = rooms(0, 20_000)
    sample = sample_of(items)
    for gone in items[:2_000]:
        sample.discard(gone, never())
    assert sample.size == 18_000


def test_a_room_may_come_back():
    """A room that goes and comes again counts once."""
    sample = sample_of(rooms(0, 10))
    for _ in range(3):
        sample.discard(b"realtime:room:3", rooms(4, 10))
        sample.add(b"realtime:room:3")
    assert count(sample) == (10, True)
    assert sample.size == 10


def test_hashes_are_json_numbers():
    """Hashes stay below 2**53, so that every JSON reader keeps them exactly."""
    assert max(sample_of(rooms(0, MAX_SAMPLE)).hashes) < 2**53
