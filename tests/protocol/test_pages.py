"""Pages of several pods: each entry is told once, whatever comes and goes."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.protocol.pages import MAX_PAGE_BYTES, Page, cut, merge

Count = tuple[str, int]
Pod = dict[str, int]


def page_of(pod: Pod, after: str, limit: int) -> Page[Count]:
    return cut(((name, pod[name]) for name in sorted(pod) if name > after), limit)


def page_of_all(pods: list[Pod], after: str, limit: int) -> Page[Count]:
    pages = [page_of(pod, after, limit) for pod in pods]
    return merge(
        pages, limit, key=lambda one: one[0], add=lambda one, two: (one[0], one[1] + two[1])
    )


def test_a_page_ends_at_its_limit() -> None:
    entries = [("a", 1), ("b", 1), ("c", 1)]
    assert cut(iter(entries), 2) == Page(entries[:2], more=True)
    assert cut(iter(entries), 3) == Page(entries)
    assert cut([], 3) == Page([])


def test_a_page_has_few_bytes() -> None:
    """Long entries make a short page; one that is too long stands alone, so that it goes on."""
    long = [f"{number}{'x' * 4000}" for number in range(20)]
    page = cut(long, 20)
    assert (len(page.entries), page.more) == (6, True)
    assert len(msgspec.json.encode(page.entries)) <= MAX_PAGE_BYTES
    assert cut(["x" * MAX_PAGE_BYTES, "y"], 20) == Page(["x" * MAX_PAGE_BYTES], more=True)


def test_two_pods() -> None:
    """Both count, and behind the end of one page nothing is told yet."""
    pods = [{"a": 1, "c": 2}, {"a": 10, "b": 20, "d": 30}]
    assert page_of_all(pods, "", 2) == Page([("a", 11), ("b", 20)], more=True)
    assert page_of_all(pods, "b", 2) == Page([("c", 2), ("d", 30)])
    assert page_of_all([{}, {}], "", 2) == Page([])


def test_a_page_that_ends_for_its_bytes() -> None:
    """What other pods have behind its end comes later, when the rest of that pod is known."""
    long = {f"{number:02}{'x' * 4000}": 1 for number in range(8)}
    pods = [long, {"02": 1, "07": 1, "99": 1}]
    after, told = "", list[str]()
    for _ in range(10):
        page = page_of_all(pods, after, 20)
        told += [name for name, _ in page.entries]
        if not page.more:
            break
        after = told[-1]
    assert told == sorted([*long, *pods[1]])


NAMES = st.text(st.sampled_from("ab\0\uffff\U0001f600"), max_size=3).filter(bool)
PODS = st.lists(st.dictionaries(NAMES, st.integers(1, 9), max_size=12), min_size=1, max_size=3)


@given(PODS, st.integers(1, 5), st.data())
def test_each_is_told_once(pods: list[Pod], limit: int, data: st.DataObject) -> None:
    """What is there all the time is told once and in order, with what it has on all pods."""
    lasting = {name: sum(pod.get(name, 0) for pod in pods) for pod in pods for name in pod}
    fleeting = data.draw(st.sets(NAMES.filter(lambda name: name not in lasting), max_size=8))
    after, told = "", list[Count]()
    while True:
        for name in fleeting:
            pod = data.draw(st.sampled_from(pods))
            if pod.pop(name, None) is None:
                pod[name] = 1
        page = page_of_all(pods, after, limit)
        assert len(page.entries) <= limit
        assert all(name > after for name, _ in page.entries)
        told += page.entries
        if not page.more:
            break
        after = page.entries[-1][0]
    assert [one for one in told if one[0] in lasting] == sorted(lasting.items())
    assert len(dict(told)) == len(told)
