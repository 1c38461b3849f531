"""Coverage is counted by room, and a floor only ever rises."""

from __future__ import annotations

import json

from tests.support.coverage_rooms import FLOORS, ROOT, below, raised, rooms, shown


def summary(covered: int, total: int) -> dict[str, int]:
    branches = {"covered_branches": covered, "num_branches": total}
    return {"covered_lines": covered, "num_statements": total, **branches}


def test_rooms_are_folders_of_two_parts() -> None:
    files = {
        "actors/core/sse.py": summary(9, 10),
        "actors/core/wire/openai_chat/stream.py": summary(10, 10),
        "actors/settings.py": summary(1, 2),
        "actors/rpc/__init__.py": summary(0, 0),
    }
    assert rooms(files) == {"actors": 50.0, "actors/core": 95.0}


def test_a_room_below_its_floor_is_named() -> None:
    found = {"actors/core": 94.9, "actors/rpc": 90.0}
    floors = {"actors/core": 95, "actors/rpc": 90, "actors/gone": 80}
    assert below(found, floors) == ["actors/core"]
    assert raised(found, floors) == {"actors/core": 95, "actors/rpc": 90}
    assert "94.9%" in shown(found, floors)


def test_the_floors_are_of_rooms_that_there_are() -> None:
    for room in json.loads(FLOORS.read_text()):
        assert (ROOT / room).is_dir(), room
