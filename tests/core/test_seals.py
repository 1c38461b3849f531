"""Signatures of providers, on their way through clients of another wire format."""

from __future__ import annotations

import pytest

from actors.core.events import BlockFinished, ReasoningDelta
from actors.core.request import Dialect
from actors.core.upstream import UpstreamBatch
from actors.core.wire.seals import Sealing, opened, sealed

M, R = Dialect.MESSAGES, Dialect.RESPONSES
SEAL = sealed("c2ln", wire=M, provider="claude")


def test_a_seal_is_opened_for_the_provider_that_made_it_alone() -> None:
    assert opened(SEAL, client=R, wire=M, provider="claude") == "c2ln"
    assert opened(SEAL, client=M, wire=M, provider="claude") == "c2ln"
    for wire, provider in ((M, "other"), (R, "claude"), (R, "other"), (M, "claud"), (M, "")):
        assert opened(SEAL, client=R, wire=wire, provider=provider) is None


def test_a_provider_s_name_is_never_taken_for_a_part_of_the_signature() -> None:
    seal = sealed("b:c", wire=M, provider="a")
    assert opened(seal, client=R, wire=M, provider="a:b") is None
    assert opened(sealed("c", wire=M, provider="a:b"), client=R, wire=M, provider="a") is None


@pytest.mark.parametrize(
    ("signature", "client", "wire", "kept"),
    [
        ("c2ln", M, M, "c2ln"),
        ("gAAAAABo", R, R, "gAAAAABo"),
        ("c2ln", R, M, None),
        ("c2ln", M, R, None),
        ("c2ln", Dialect.CHAT, M, None),
        ("gAAAAABo", M, M, None),
        ("", M, M, None),
        (None, M, M, None),
        (SEAL.removesuffix("c2ln"), R, M, None),
    ],
)
def test_a_bare_signature_stays_within_its_format(
    signature: str | None, client: Dialect, wire: Dialect, kept: str | None
) -> None:
    assert opened(signature, client=client, wire=wire, provider="claude") == kept


class Scripted:
    """A decoder that says what it was told to."""

    def __init__(self, *events: ReasoningDelta | BlockFinished) -> None:
        self._batch = UpstreamBatch(events)

    def receive_data(self, data: bytes) -> UpstreamBatch:
        return self._batch

    def receive_eof(self) -> UpstreamBatch:
        return UpstreamBatch(is_end=True)


def test_signatures_are_sealed_as_they_come() -> None:
    thought = ReasoningDelta(0, "t", 1)
    decoder = Scripted(thought, BlockFinished(0, True, "c2ln"), BlockFinished(1, True))
    sealing = Sealing(decoder, wire=M, provider="claude")
    assert sealing.receive_data(b"").events == (
        thought,
        BlockFinished(0, True, SEAL),
        BlockFinished(1, True),
    )
    assert sealing.receive_eof() == UpstreamBatch(is_end=True)
