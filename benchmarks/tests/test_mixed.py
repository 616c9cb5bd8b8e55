"""Members of several rooms are spread evenly, and meet others in each."""

from __future__ import annotations

from collections import Counter

from ..scenarios import SCENARIOS, Mixed


def test_everybody_in_eight_rooms() -> None:
    """Each room has its fifty, and who is together in one room meets others in the next."""
    scenario = SCENARIOS["mixed_50_8"]
    assert isinstance(scenario, Mixed)
    rooms = [scenario.rooms_of(number) for number in range(scenario.rooms * scenario.members)]
    assert {len(set(mine)) for mine in rooms} == {8}
    assert [mine[0] for mine in rooms] == sorted(list(range(20)) * 50)
    assert Counter(room for mine in rooms for room in mine) == dict.fromkeys(range(160), 50)
    assert {mine[1] for mine in rooms[:50]} == {*range(20, 40)}
