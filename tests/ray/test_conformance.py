"""Goal: what every dialect promises holds in each of them, on a real instance."""

from __future__ import annotations

import pytest

from tests.conformance.cases import CASES, NotApplicable
from tests.dialect_clients import CLIENTS
from tests.instance import Instance

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("dialect", CLIENTS)
@pytest.mark.parametrize("case", CASES)
def test_a_case_holds_in_a_dialect(midstream: Instance, case: str, dialect: str) -> None:
    try:
        CASES[case](midstream, CLIENTS[dialect])
    except NotApplicable:
        assert (case, dialect) in {
            ("background", "chat"),
            ("cancel: deleted", "chat"),
            ("cancel: deleted", "model_response"),
        }, "every other case applies"
