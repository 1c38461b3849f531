"""A short run of `tests.support.schema_fuzz`; the long one is its own command."""

from __future__ import annotations

from tests.support.schema_fuzz import application, fuzz


def test_generated_calls_are_answered_as_the_document_says() -> None:
    with application() as target:
        outcome = fuzz(target, calls=40)
    assert outcome.failures == {}
    assert outcome.statuses[200] > 0
    assert outcome.statuses[400] > 0
