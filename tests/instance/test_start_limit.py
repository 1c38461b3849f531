"""A start whose first tries fail: done again within the limit, cleaned up after each, told in one sentence.

Goal: a busy machine delays a start and does not end it. Method: the steps and the clock are scripted.
"""

from __future__ import annotations

import pytest

from serve_app.instance.data_directory import InstanceError
from serve_app.instance.start_limit import StartFailed, StartLimit


class Start:
    """Steps that each take some seconds, and fail so many times."""

    def __init__(self, limit_s: float) -> None:
        self.now_s = 0.0
        self.happened: list[str] = []
        self.limit = StartLimit(
            limit_s, tell=self.happened.append, now=lambda: self.now_s, sleep=self.sleep
        )

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def attempt(self, *, fails: int, seconds: float, error: type[Exception] = StartFailed) -> str:
        left = iter([error("The node timed out.")] * fails)

        def step() -> str:
            self.now_s += seconds
            failure = next(left, None)
            if failure is not None:
                raise failure
            return "started"

        clean_up = lambda: self.happened.append("cleaned up")  # noqa: E731
        return self.limit.attempt("starting Ray", step, clean_up=clean_up)


def test_a_step_that_failed_is_done_again_after_a_clearing() -> None:
    start = Start(180.0)
    assert start.attempt(fails=2, seconds=40.0) == "started"
    assert start.happened == [
        "starting Ray",
        "cleaned up",
        "starting Ray again: The node timed out",
        "cleaned up",
        "starting Ray again: The node timed out",
    ]


def test_at_the_limit_it_ends_with_one_sentence_and_nothing_is_left() -> None:
    start = Start(180.0)
    with pytest.raises(StartFailed) as caught:
        start.attempt(fails=100, seconds=40.0)
    assert str(caught.value) == (
        "It was not ready within 180 s (starting Ray: The node timed out): give a busy machine more "
        "with --start-timeout."
    )
    assert caught.value.exit_code == 1
    assert start.happened[-1] == "cleaned up"
    assert start.now_s < 180.0 + 40.0, "the last try began within the limit"


def test_what_cannot_pass_ends_it_at_once() -> None:
    start = Start(180.0)
    with pytest.raises(InstanceError, match="timed out"):
        start.attempt(fails=1, seconds=1.0, error=InstanceError)
    assert start.happened == ["starting Ray"]


def test_steps_share_one_limit() -> None:
    start = Start(100.0)
    start.attempt(fails=1, seconds=40.0)
    assert start.limit.left_s == pytest.approx(19.0)
    with pytest.raises(StartFailed):
        start.attempt(fails=2, seconds=40.0)


def test_a_signal_that_is_told_ends_it() -> None:
    def tell(step: str) -> None:
        if "again" in step:
            raise KeyboardInterrupt

    def step() -> None:
        raise StartFailed("late")

    limit = StartLimit(180.0, tell=tell)
    with pytest.raises(KeyboardInterrupt):
        limit.attempt("starting Ray", step, clean_up=lambda: None)
