"""The attacks that take no time, against the instance that tests share; `python -m tests.attack` has all."""

from __future__ import annotations

import pytest

from tests.attack.attacks import ATTACKS, Attack
from tests.support.instance import Instance

pytestmark = pytest.mark.ray

QUICK = [attack for attack in ATTACKS if not attack.is_slow and not attack.is_of_its_own]


@pytest.mark.parametrize("attack", QUICK, ids=[f"{a.line} {a.tried}" for a in QUICK])
def test_it_is_held(midstream: Instance, attack: Attack) -> None:
    assert attack.run(midstream)
