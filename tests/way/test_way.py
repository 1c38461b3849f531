"""The way of a completion stays short enough to be told: its totals may fall, and do not grow.

Goal: whoever makes it longer sees by how much, and decides. Method: record it, and hold the totals against
the ceilings below, which are lowered with each change that shortens it.
"""

from __future__ import annotations

from tests.way.__main__ import told, totals
from tests.way.completion import walk

THERE_MAX = (150, 74)
BACK_MAX = (42, 27)
"""Steps and files."""


def test_the_way_does_not_grow() -> None:
    there, back = walk()
    for stretch, (steps_max, files_max) in ((there, THERE_MAX), (back, BACK_MAX)):
        shown = f"{totals(stretch)}, at most {steps_max} in {files_max}:\n{told(stretch)}"
        assert len(stretch.steps) <= steps_max, shown
        assert len(stretch.files) <= files_max, shown


def test_the_way_leads_from_http_to_the_provider_and_back() -> None:
    there, back = walk()
    assert there.steps[0].file == "serve_app/http/route.py"
    assert there.files.index("actors/ledger/placing.py") < there.files.index(
        "actors/upstream/connections.py"
    )
    assert "actors/core/sse.py" in back.files
    assert back.steps[-1].room == "serve_app/http"
