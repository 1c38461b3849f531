"""How large each part of the scale benchmark is: as it is meant, and tiny, to see that it works."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QUICK", "Sizes"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts and seconds; each is an option of the command where it is worth one.

    Args:
        window_s: how long CPU is measured, `rounds` times at each level.
        starts_s: how long starts are measured at each level.
        pool_warm: free actors that the pool of `pool` keeps; each of its rounds takes as many.
        actors_min: what the streams of `two_thousand` are spread over at least.
        ramp_s: how long its streams are opened, and so how long they end.
        slack_s: what they live longer than that, in case they open late.
        calm_tries: how often it is looked whether actors are still starting.
    """

    dense_levels: tuple[int, ...] = (1, 100, 500, 1_000, 2_000)
    strict_levels: tuple[int, ...] = (1, 32, 64, 100)
    rounds: int = 3
    window_s: float = 10.0
    settle_s: float = 2.0
    calm_tries: int = 8
    starts_s: float = 6.0
    fast_streams: int = 4

    streams: int = 2_000
    seconds: float = 60.0
    ramp_s: float = 60.0
    slack_s: float = 30.0
    actors_min: int = 8

    cancel_levels: tuple[int, ...] = (1, 100, 1_000)
    cancels: int = 200

    observers: tuple[int, ...] = (1, 10, 100)
    observed_streams: int = 20

    neighbours: int = 20
    slow_s: float = 20.0

    nodes: int = 3
    node_starts: int = 200
    node_cancels: int = 60

    pool_warm: int = 8
    pool_starts: int = 200

    soak_s: float = 60.0
    soak_rate: float = 10.0

    ledger_s: float = 4.0
    seed: int = 1


QUICK = Sizes(
    dense_levels=(1, 20),
    strict_levels=(1, 4),
    rounds=1,
    window_s=1.0,
    settle_s=0.3,
    calm_tries=2,
    starts_s=0.5,
    fast_streams=2,
    streams=20,
    seconds=3.0,
    ramp_s=1.0,
    slack_s=4.0,
    actors_min=4,
    cancel_levels=(1, 20),
    cancels=3,
    observers=(1, 4),
    observed_streams=2,
    neighbours=4,
    slow_s=2.0,
    nodes=2,
    node_starts=10,
    node_cancels=4,
    pool_warm=2,
    pool_starts=5,
    soak_s=6.0,
    soak_rate=4.0,
    ledger_s=0.5,
)
