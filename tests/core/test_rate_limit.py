"""The request bucket and the concurrency check, with time as an argument."""

from __future__ import annotations

import random

import pytest

from actors.core.money.rate_limit import RequestBucket, is_within_concurrency

WALL_S = 1_800_000_000.123456
"""A wall clock of today's size, where a float resolves about a quarter of a microsecond."""


def test_a_rested_team_may_send_its_whole_minute_at_once() -> None:
    bucket = RequestBucket(3, now_s=WALL_S)
    remaining = [bucket.draw(WALL_S).remaining for _ in range(3)]
    assert remaining == [2, 1, 0]
    refused = bucket.draw(WALL_S)
    assert (refused.is_admitted, refused.remaining, refused.retry_after_s) == (False, 0, 20.0)
    assert refused.limit == 3
    assert refused.reset_at_s == pytest.approx(WALL_S + 60)
    assert repr(bucket) == "<RequestBucket 0/3>"


def test_it_refills_evenly_and_never_above_its_size() -> None:
    bucket = RequestBucket(60, now_s=WALL_S)
    for _ in range(60):
        assert bucket.draw(WALL_S).is_admitted
    assert not bucket.draw(WALL_S + 0.5).is_admitted
    assert bucket.draw(WALL_S + 1).is_admitted
    assert not bucket.draw(WALL_S + 1).is_admitted
    assert bucket.draw(WALL_S + 3600).remaining == 59


def test_a_refusal_takes_nothing() -> None:
    bucket = RequestBucket(1, now_s=WALL_S)
    bucket.draw(WALL_S)
    for tenth in range(600):
        assert not bucket.draw(WALL_S + tenth / 10).is_admitted
    assert bucket.draw(WALL_S + 60).is_admitted


def test_peek_shows_the_bucket_and_takes_nothing() -> None:
    bucket = RequestBucket(2, now_s=WALL_S)
    bucket.draw(WALL_S)
    assert [bucket.peek(WALL_S).remaining for _ in range(3)] == [1, 1, 1]
    assert bucket.peek(WALL_S + 30).reset_at_s == WALL_S + 30


def test_a_clock_that_goes_back_refills_nothing() -> None:
    bucket = RequestBucket(2, now_s=WALL_S)
    bucket.draw(WALL_S)
    assert bucket.draw(WALL_S - 1000).remaining == 0
    assert not bucket.draw(WALL_S - 1000).is_admitted


@pytest.mark.parametrize("limit", [1, 7, 60, 997, 100_000])
def test_who_waits_as_advised_is_admitted(limit: int) -> None:
    rng = random.Random(limit)
    bucket, now_s = RequestBucket(limit, now_s=WALL_S), WALL_S
    refusals = 0
    while refusals < 50:
        state = bucket.draw(now_s)
        if not state.is_admitted:
            refusals += 1
            now_s += state.retry_after_s
            assert bucket.draw(now_s).is_admitted
        now_s += rng.random() * 0.3 / limit


@pytest.mark.parametrize(
    ("completions_open", "limit", "expected"),
    [(0, None, True), (10**6, None, True), (0, 1, True), (1, 1, False), (2, 1, False)],
)
def test_concurrency(completions_open: int, limit: int | None, expected: bool) -> None:
    assert is_within_concurrency(completions_open, limit) is expected
