"""What the witness says: nothing of what is right, and each wrong by its own name."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.chaos.streams import Fate, Story, Verdict
from tests.chaos.witness import Finding, Kind, Truth, find

WORDS = " lake lake lake"


def told(fate: Fate, verdict: Verdict, texts: int = 3) -> Story:
    story = Story("one", fate, "steady", 30, 0.0, 1.0)
    for number in range(texts):
        story.take(number, '{"choices": [{"delta": {"content": " lake"}}]}')
    story.verdict = verdict
    return story


def truth(
    status: str = "completed", source: str | None = None, failure: str | None = None
) -> Truth:
    charge = 0 if failure else 75 * 10 + 450 * 3
    return Truth(
        rows={"one": {"id": "cmp_1", "status": status, "source": source, "credits": charge / 1e6}},
        records={
            "one": {"failure": failure, "record": {"choices": [{"message": {"content": WORDS}}]}}
        },
        upstream={"one": [{"tokens_sent": 3, "prompt_tokens": 10, "closed_at": 1.0}]},
        audit={"ok": True},
        balance={"held_credits": 0, "credits": 1.0},
        pool={"slots": 4, "slots_free": 4},
    )


def kinds(story: Story, truth: Truth) -> set[Kind]:
    return {finding.kind for finding in findings(story, truth)}


def findings(story: Story, truth: Truth) -> list[Finding]:
    return list(find([story], truth))


@pytest.mark.parametrize(
    ("story", "truth"),
    [
        (told(Fate.READ, Verdict.COMPLETED), truth()),
        (told(Fate.LEAVE, Verdict.LEFT, 1), truth("cancelled", "client_disconnect")),
        (told(Fate.CANCEL, Verdict.CANCELLED), truth("cancelled", "client_request")),
        (told(Fate.READ, Verdict.FAILED, 2), truth("failed", None, "completion_lost")),
        (told(Fate.BROKEN, Verdict.FAILED), truth("failed", None, "upstream_unavailable")),
    ],
)
def test_what_is_right_is_not_found(story: Story, truth: Truth) -> None:
    assert findings(story, truth) == []


def test_each_wrong_has_its_name() -> None:
    right = truth()

    def changed(where: str, **members: Any) -> Truth:
        wrong = deepcopy(right)
        part: Any = getattr(wrong, where)
        (part["one"] if where in ("rows", "records") else part).update(members)
        return wrong

    read = told(Fate.READ, Verdict.COMPLETED)
    assert kinds(read, changed("rows", status="cancelled", source="client_disconnect")) >= {
        Kind.WRONG_END,
        Kind.END_CHANGED,
    }
    assert kinds(read, changed("rows", credits=0.5)) == {Kind.WRONG_CHARGE}
    assert kinds(read, changed("records", record={})) >= {Kind.TEXT_MISSING}
    assert kinds(read, changed("balance", held_credits=1)) == {Kind.HOLD_OPEN}
    assert kinds(read, changed("pool", slots_free=3)) == {Kind.SLOT_LEAKED}
    assert kinds(read, changed("audit", ok=False)) == {Kind.WRONG_CHARGE}
    assert kinds(told(Fate.READ, Verdict.STUCK), right) == {Kind.UNANSWERED}
    assert kinds(told(Fate.READ, Verdict.COMPLETED, 2), right) == {Kind.EVENTS_LOST}
    open_still, twice = deepcopy(right), deepcopy(right)
    open_still.upstream["one"][0]["closed_at"] = None
    twice.upstream["one"] *= 2
    assert Kind.ORPHAN in kinds(read, open_still) & kinds(read, twice)


def test_who_was_kept_out_for_longer_than_the_grace_may_find_it_cancelled() -> None:
    story, gone = told(Fate.READ, Verdict.CANCELLED), truth("cancelled", "client_disconnect")
    assert kinds(story, gone) == {Kind.WRONG_END}
    story.away_s = 31.0
    assert kinds(story, gone) == set()


def test_a_story_counts_what_was_lost_and_what_came_twice() -> None:
    story = told(Fate.CUT, Verdict.STUCK)
    story.take(2, "[DONE]")
    assert (story.repeated, story.missed, story.is_over) == (1, 0, False)
    story.take(5, "[DONE]")
    assert (story.repeated, story.missed, story.verdict) == (1, 2, Verdict.COMPLETED)
