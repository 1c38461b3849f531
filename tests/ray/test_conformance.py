"""Goal: what every dialect promises holds in each of them, on a real instance, by default and strict."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.cases import CASES, NotApplicable
from tests.support.dialect_clients import CLIENTS
from tests.support.instance import Instance, running

pytestmark = pytest.mark.ray

NOT_APPLICABLE = {
    ("background", "chat"),
    ("cancel: deleted", "chat"),
    ("cancel: deleted", "model_response"),
    ("page's refusals", "model_response"),
    *(("reasoning", dialect) for dialect in set(CLIENTS) - {"chat"}),
}

DIFFERING = ("create", "stream", "name twice", "start again", "page's refusals", "reasoning")
"""What strict contracts may change; all cases in both modes are `python -m tests.conformance`."""


def hold(instance: Instance, case: str, dialect: str) -> None:
    try:
        CASES[case](instance, CLIENTS[dialect])
    except NotApplicable:
        assert (case, dialect) in NOT_APPLICABLE, "every other case applies"


@pytest.mark.parametrize("dialect", CLIENTS)
@pytest.mark.parametrize("case", CASES)
def test_a_case_holds_in_a_dialect(midstream: Instance, case: str, dialect: str) -> None:
    hold(midstream, case, dialect)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Midstream where the primary pages' own behaviour stands."""
    settings = {"strict_contracts": True, "actors_warm": 2}
    with running(tmp_path_factory.mktemp("contracts"), settings=settings) as instance:
        yield instance


@pytest.mark.parametrize("dialect", CLIENTS)
@pytest.mark.parametrize("case", DIFFERING)
def test_a_case_holds_under_strict_contracts(strict: Instance, case: str, dialect: str) -> None:
    hold(strict, case, dialect)
