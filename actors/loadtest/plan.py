"""A load test as values: what is asked of whom, how often, and what becomes of each stream.

Owns every choice of a run. It must not know clocks, connections or Ray: the same plan makes the same
streams in the same order, on one worker or on twenty, today and tomorrow.

Rules:
- A stream is known by its number, dense from 0. Its prompt, lengths and fate follow from the seed
  and that number alone.
- Worker `index` of `workers` has the streams whose number leaves `index`.
- Arrivals of an open loop are one global sequence of instants, drawn once and dealt out like the
  numbers. What a server does never moves an arrival.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count, islice

from actors.core.request import Dialect
from actors.simulator.vocabulary import WORDS

__all__ = [
    "Arrival",
    "CancelAfter",
    "Fate",
    "Length",
    "Load",
    "Plan",
    "PlanError",
    "Share",
    "Slo",
    "StreamPlan",
    "arrivals",
    "stream_plan",
]


class PlanError(ValueError):
    """What was asked for makes no load test; one sentence for the operator."""


class Arrival(StrEnum):
    """When streams start."""

    CLOSED = "closed"  # as soon as another one ended
    POISSON = "poisson"  # by a rate, at random
    CONSTANT = "constant"  # by a rate, evenly


@dataclass(frozen=True, slots=True)
class Load:
    """How much: `streams` at once in a closed loop, `rate_per_s` starts in an open one."""

    arrival: Arrival
    streams: int = 0
    rate_per_s: float = 0.0

    @property
    def level(self) -> float:
        return self.streams if self.arrival is Arrival.CLOSED else self.rate_per_s

    def at(self, level: float) -> Load:
        """Return the same kind of load at another level."""
        if self.arrival is Arrival.CLOSED:
            return Load(self.arrival, streams=int(level))
        return Load(self.arrival, rate_per_s=level)


@dataclass(frozen=True, slots=True)
class Length:
    """A length in tokens, drawn evenly between two bounds, both included."""

    low: int
    high: int

    def draw(self, source: random.Random) -> int:
        return self.low if self.low == self.high else source.randint(self.low, self.high)


@dataclass(frozen=True, slots=True)
class CancelAfter:
    """When a stream is cancelled: after so many tokens, or, with 0, after so many seconds."""

    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits in seconds, by metric; a stream that keeps all of them is good."""

    limits: Mapping[str, float] = field(default_factory=dict)


class Fate(StrEnum):
    """What the tester does to a stream."""

    READ = "read"
    CANCEL = "cancel"
    DISCONNECT = "disconnect"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One stream. `leave_after` is the token after which a reader that leaves has left."""

    number: int
    prompt: str
    max_tokens: int
    fate: Fate
    leave_after: int
    observers: int


@dataclass(frozen=True, slots=True)
class Share:
    """One worker's part of a plan."""

    index: int = 0
    workers: int = 1

    def of(self, total: int) -> int:
        """Return how many of so many things are this worker's."""
        return (total - self.index + self.workers - 1) // self.workers

    def numbers(self) -> Iterator[int]:
        return count(self.index, self.workers)


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run at one level.

    Args:
        url: where; paths are added to it.
        api_key: None sends none.
        organization: the model-response dialect names it in every call.
        count: measured streams, 0 where `duration_s` ends the run.
        warmup_s: streams that are to start within it are run and audited, but not measured.
        cancel_fraction, disconnect_fraction, resume_fraction: of the streams; together at most 1.
        observers: further readers of every stream that is not left.
        connections_max: of one worker; at it, arrivals wait, and their latency counts from before.
        quiet_timeout_s: a stream that brings nothing for so long is broken.
        drain_timeout_s: what streams may still take when no more are started.
    """

    url: str
    dialect: Dialect
    model: str
    load: Load
    api_key: str | None = field(default=None, repr=False)
    organization: str = "org_demo"
    count: int = 0
    duration_s: float = 0.0
    warmup_s: float = 0.0
    prompt_tokens: Length = Length(16, 16)
    max_tokens: Length = Length(64, 64)
    cancel_fraction: float = 0.0
    cancel_after: CancelAfter = CancelAfter(tokens=8)
    disconnect_fraction: float = 0.0
    resume_fraction: float = 0.0
    observers: int = 0
    seed: int = 0
    slo: Slo = Slo()
    connections_max: int = 10_000
    quiet_timeout_s: float = 60.0
    drain_timeout_s: float = 120.0

    def __post_init__(self) -> None:
        """Raises: PlanError: names the figure that is wrong."""
        self._check_size()
        for name in ("cancel_fraction", "disconnect_fraction", "resume_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise PlanError(f"--{name.replace('_', '-')} must be between 0 and 1.")
        if self.cancel_fraction + self.disconnect_fraction + self.resume_fraction > 1.0:
            raise PlanError("The fractions of streams to cancel, leave and resume are above 1.")
        if not 0 <= self.observers <= _OBSERVERS_MAX:
            raise PlanError(f"--observers must be between 0 and {_OBSERVERS_MAX}.")

    @property
    def needs_control(self) -> bool:
        """Whether it uses what only Midstream has."""
        return bool(self.cancel_fraction or self.resume_fraction or self.observers)

    def _check_size(self) -> None:
        load = self.load
        if load.arrival is Arrival.CLOSED and not 1 <= load.streams <= _STREAMS_MAX:
            raise PlanError(f"The number of streams must be between 1 and {_STREAMS_MAX}.")
        if load.arrival is not Arrival.CLOSED and not 0.0 < load.rate_per_s <= _RATE_MAX:
            raise PlanError(f"The rate must be above 0 and at most {_RATE_MAX} a second.")
        if not 0 <= self.count <= _COUNT_MAX or not 0 <= self.duration_s <= _DURATION_MAX_S:
            raise PlanError(f"At most {_COUNT_MAX} streams, and {_DURATION_MAX_S} s, make one run.")
        if bool(self.count) == bool(self.duration_s):
            raise PlanError("Give either --count or --duration.")
        if not 0 <= self.warmup_s <= _DURATION_MAX_S:
            raise PlanError(f"--warmup must be at most {_DURATION_MAX_S} s.")


_OBSERVERS_MAX = 1_000
_STREAMS_MAX = 100_000
_RATE_MAX = 100_000
_COUNT_MAX = 10_000_000
_DURATION_MAX_S = 86_400


def stream_plan(plan: Plan, number: int) -> StreamPlan:
    """Return what becomes of the stream of that number."""
    source = random.Random(f"{plan.seed}/{number}")
    max_tokens = plan.max_tokens.draw(source)
    fate = _fate(plan, source.random())
    is_left = fate is Fate.DISCONNECT
    return StreamPlan(
        number,
        prompt="".join(source.choices(WORDS, k=plan.prompt_tokens.draw(source))),
        max_tokens=max_tokens,
        fate=fate,
        leave_after=source.randint(1, max(1, max_tokens - 1)),
        # An observer would keep a stream alive whose leaving is to be seen.
        observers=0 if is_left else plan.observers,
    )


def _fate(plan: Plan, drawn: float) -> Fate:
    for fate, fraction in (
        (Fate.CANCEL, plan.cancel_fraction),
        (Fate.DISCONNECT, plan.disconnect_fraction),
        (Fate.RESUME, plan.resume_fraction),
    ):
        if drawn < fraction:
            return fate
        drawn -= fraction
    return Fate.READ


def arrivals(plan: Plan, share: Share) -> Iterator[float]:
    """Yield when this worker's streams are to start, in seconds since the run's start; endless."""
    return islice(_all_arrivals(plan), share.index, None, share.workers)


def _all_arrivals(plan: Plan) -> Iterator[float]:
    rate_per_s = plan.load.rate_per_s
    if plan.load.arrival is Arrival.CONSTANT:
        yield from (number / rate_per_s for number in count())
    source = random.Random(f"{plan.seed}/arrivals")
    offset_s = 0.0
    while True:
        yield offset_s
        offset_s += source.expovariate(rate_per_s)
