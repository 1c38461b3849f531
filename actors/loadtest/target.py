"""What the tester finds out about a server before it loads it: who it is, what it costs, who can be asked.

A server with `/readyz` as Midstream has it is Midstream; one with a simulator's log is a simulator that
is asked directly; any other is taken as it is, and what only those two can tell is not available.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from actors.loadtest.connections import UNREACHED, LoadConnections, Refused
from actors.loadtest.plan import Arrival, Plan
from actors.loadtest.speech import SpokenCall

__all__ = [
    "TargetAccount",
    "LoadError",
    "TargetPrices",
    "Target",
    "credits_needed",
    "probe",
    "read_account",
]

_MICROCREDITS = 1_000_000
_PROMPT_FRAME_TOKENS = 8
"""What the chat format adds to a prompt, rounded up."""


class LoadError(Exception):
    """The run cannot go on; one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class TargetPrices:
    """Micro-credits per token."""

    input_microcredits: int
    output_microcredits: int


@dataclass(frozen=True, slots=True)
class TargetAccount:
    """The team's, in micro-credits; `is_metered` where completions cost it something."""

    credits_microcredits: int
    held_microcredits: int
    is_metered: bool

    @property
    def available_microcredits(self) -> int:
        return self.credits_microcredits - self.held_microcredits


@dataclass(frozen=True, slots=True)
class Target:
    """`simulator_url` is where the ground truth is asked; None where there is none."""

    is_midstream: bool
    simulator_url: str | None = None
    prices: TargetPrices | None = None


async def probe(
    connections: LoadConnections, plan: Plan, *, simulator_url: str | None, admin_key: str | None
) -> Target:
    """Ask the server who it is.

    Args:
        simulator_url: the upstream's log, where the operator knows it better.
        admin_key: shows where the simulator is on a deployment that is not loopback.

    Raises: LoadError: it cannot be reached, is not ready, or does not know the key or the model.
    """
    ready = await _ready(connections, plan.url, admin_key)
    if ready is None:
        is_simulator = simulator_url is None and await _is_simulator(connections)
        return Target(False, plan.url if is_simulator else simulator_url)
    return Target(True, simulator_url or ready.get("simulator"), await _prices(connections, plan))


async def read_account(connections: LoadConnections) -> TargetAccount:
    """Return what the team has. Raises: LoadError: the server does not say."""
    value = await _ask(connections, "/v1/balance")
    return TargetAccount(
        round(value["credits"] * _MICROCREDITS),
        round(value["held_credits"] * _MICROCREDITS),
        value.get("billing_mode", "metered") == "metered",
    )


def credits_needed(plan: Plan, prices: TargetPrices, account: TargetAccount) -> str:
    """Say what the run holds and costs at most, and what there is."""
    hold = _hold_microcredits(plan, prices)
    parts = [f"Each stream holds {_credits(hold)} credits while it runs"]
    load = plan.load
    if load.arrival is Arrival.CLOSED:
        parts.append(f"{load.streams:,} at once hold {_credits(hold * load.streams)}")
    streams = _streams_at_most(plan)
    if streams:
        parts.append(f"{streams:,} streams cost at most {_credits(hold * streams)}")
    else:
        affordable = account.available_microcredits // max(1, hold)
        parts.append(f"there is enough for {affordable:,} streams")
    parts.append(f"the account has {_credits(account.available_microcredits)}")
    return "; ".join(parts) + "."


def _hold_microcredits(plan: Plan, prices: TargetPrices) -> int:
    prompt = plan.prompt_tokens.high + _PROMPT_FRAME_TOKENS
    held_for_prompt = ceil(prompt * prices.input_microcredits * 11 / 10)
    return held_for_prompt + plan.max_tokens.high * prices.output_microcredits


def _streams_at_most(plan: Plan) -> int:
    """Return how many streams the plan has, warm-up included; 0 where their own speed decides."""
    if plan.load.arrival is Arrival.CLOSED:
        return 0 if plan.duration_s or plan.warmup_s else plan.count
    rate = plan.load.rate_per_s
    return ceil(rate * plan.warmup_s) + (plan.count or ceil(rate * plan.duration_s))


def _credits(microcredits: int) -> str:
    return f"{microcredits / _MICROCREDITS:,.4f}"


async def _ready(
    connections: LoadConnections, url: str, admin_key: str | None
) -> dict[str, Any] | None:
    headers = {} if admin_key is None else {"Authorization": f"Bearer {admin_key}"}
    try:
        value = await connections.json(SpokenCall("GET", "/readyz"), **headers)
    except Refused as error:
        if error.status == 503:
            raise LoadError(f"{url} is not ready: {error}") from None
        return None
    except ValueError:
        return None
    except UNREACHED as error:
        raise LoadError(f"{url} cannot be reached: {type(error).__name__}.") from None
    return value if value.get("status") == "ready" and "simulator" in value else None


async def _is_simulator(connections: LoadConnections) -> bool:
    try:
        value = await connections.json(SpokenCall("GET", "/_simulator/requests?limit=1"))
    except (Refused, ValueError, *UNREACHED):
        return False
    return isinstance(value.get("data"), list)


async def _prices(connections: LoadConnections, plan: Plan) -> TargetPrices:
    value = await _ask(connections, f"/v1/models/{plan.model}")
    pricing = value["chat_pricing"]
    return TargetPrices(pricing["input"]["credits_per_M"], pricing["output"]["credits_per_M"])


async def _ask(connections: LoadConnections, path: str) -> dict[str, Any]:
    try:
        return await connections.json(SpokenCall("GET", path))
    except (Refused, ValueError) as error:
        raise LoadError(str(error)) from None
    except UNREACHED as error:
        raise LoadError(f"The server did not answer: {type(error).__name__}.") from None
