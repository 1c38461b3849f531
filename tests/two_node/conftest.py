"""The cluster of two hosts that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.two_node.cluster import TwoNodes, launched
from tests.two_node.network import NetworkError


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[TwoNodes]:
    """Midstream on two hosts, brought up by `cluster.yaml`."""
    failed = request.session.testsfailed
    try:
        with launched() as cluster:
            yield cluster
            if request.session.testsfailed > failed:
                print(cluster.last_words())
    except NetworkError as error:
        pytest.skip(f"hosts of our own cannot be made here: {error}")
