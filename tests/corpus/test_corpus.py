"""Every case of the corpus comes out right, and the checks notice one that does not."""

from __future__ import annotations

import copy
from collections import Counter

import pytest

from tests.corpus.cases import Case, cases
from tests.corpus.players import fault

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_comes_of_it_is_right(case: Case) -> None:
    wrong = fault(case)
    assert wrong is None, f"{case.report}: {wrong}"


def test_every_kind_of_upstream_fault_has_cases() -> None:
    counts = Counter(case.bullet for case in CASES)
    assert min(counts[f"B{number}"] for number in range(1, 9)) >= 5


@pytest.mark.parametrize(
    "change",
    [
        {"text": "one twO"},
        {"reasoning": "hm"},
        {"tool_calls": [["k", "f", "{}"]]},
        {"finish": "length"},
        {"usage": [10, 4, 0]},
        {"basis": ["counted", "provider_usage"]},
        {"charge_microcredits": 1},
        {"error": "upstream_unavailable"},
    ],
)
def test_a_wrong_expectation_is_noticed(change: dict[str, object]) -> None:
    case = next(case for case in CASES if case.name == "s8")
    value = copy.deepcopy(case.value)
    value["right"] |= change
    assert fault(Case(case.played, value)) is not None
