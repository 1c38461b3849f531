"""What clients order: completions of every kind that makes a difference to the ring, drawn from the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from actors.core.completion.token_meter import hold_microcredits
from actors.core.request import Dialect, DisconnectPolicy, IdempotencyKey, StartCommand
from tests.support.commands import command

__all__ = ["draw_order"]

_TEAMS = {"rich": 26, "few": 3, "poor": 3, "free": 2}
"""How often each is drawn: most are served, some have no place or no credit left."""

_EXTENDED = 0.3
"""How many hold for their first tokens only, and ask for more as they go."""


def draw_order(
    rng: Random, client: str, completion_id: str, key_ids: Mapping[str, str], created_at_s: float
) -> StartCommand:
    team = rng.choices(list(_TEAMS), list(_TEAMS.values()))[0]
    made = command(
        completion_id=completion_id,
        team=team,
        max_output_tokens=rng.choice((8, 16, 24)),
        on_disconnect=rng.choice((DisconnectPolicy.CANCEL, DisconnectPolicy.CONTINUE)),
        background=rng.random() < 0.2,
        stream=rng.random() < 0.7,
        total_timeout_s=rng.choice((1.0, 10.0, 30.0)),
        created_at_s=created_at_s,
    )
    made = replace(
        made,
        key_id=key_ids[team],
        dialect=rng.choice((Dialect.CHAT, Dialect.CHAT, Dialect.RESPONSES)),
    )
    if rng.random() < _EXTENDED:
        step = rng.choice((1, 2, 4))
        held = hold_microcredits(made.prices, made.prompt_tokens_estimated, step)
        made = replace(made, hold_microcredits=held, hold_step_tokens=step)
    how = rng.random()
    if how < 0.25:
        made = replace(made, idempotency=IdempotencyKey(f"k-{completion_id}", "f" * 64))
    elif how < 0.4:
        again = IdempotencyKey(None, "f" * 64, names_id=True)
        made = replace(made, wire_id=f"mine-{client}", idempotency=again)
    return made
