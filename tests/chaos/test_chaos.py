"""Goal: whoever dies or stalls, nothing is lost, doubled, owed or left behind.

A minute of it, one strike after another. Slow, since where the machine has other things to do, what is
struck takes longer to come back than a completion waits for its reader.
"""

from __future__ import annotations

import random

import pytest

from tests.chaos.run import Options, run
from tests.chaos.table import print_outcome

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SECONDS = 60.0
STREAMS = 40
PAUSE_S = 2.0


@pytest.mark.timeout(900)
def test_a_minute_of_chaos_costs_nothing() -> None:
    seed = random.SystemRandom().randrange(2**32)
    outcome = run(Options(SECONDS, seed, STREAMS, PAUSE_S, at_once=1))
    print_outcome(outcome)
    assert outcome.findings == [], f"again: python -m tests.chaos --minutes 1 --seed {seed}"
    assert outcome.is_well, f"seed {seed}"
