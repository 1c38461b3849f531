"""The wire formats side by side: whose body goes upstream, and whose words come back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.core.events import BlockFinished, ToolCallStarted
from actors.core.request import CompletionRequest, Dialect, StartCommand, Tool, ToolKind
from actors.core.wire.anthropic import MessagesStreamWriter
from actors.core.wire.seals import sealed
from actors.upstream.config import ProviderConfig, ProviderKind
from actors.upstream.wire_formats import WIRE_FORMATS
from tests.core.wires import HELLO, command

ANTHROPIC = WIRE_FORMATS[ProviderKind.ANTHROPIC_MESSAGES]
CONFIG = ProviderConfig.model_validate(
    {"kind": "anthropic_messages", "base_url": "https://p.test/v1"}
)
OWN = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5, "metadata": {"a": 1}}


def start(dialect: Dialect, **members: Any) -> StartCommand:
    request = CompletionRequest("m", (HELLO,), **members)
    return replace(command(request, dialect), provider="claude")


def test_a_body_goes_only_to_a_provider_of_its_own_format() -> None:
    headers = {"anthropic-beta": "b", "authorization": "no"}
    same = start(Dialect.MESSAGES, body=OWN, headers=headers)
    assert ANTHROPIC.request_body(same, CONFIG)["metadata"] == {"a": 1}
    assert ANTHROPIC.request_headers(same) == [("anthropic-beta", "b")]
    other = start(Dialect.CHAT, body=OWN, headers=headers)
    assert "metadata" not in ANTHROPIC.request_body(other, CONFIG)
    assert ANTHROPIC.request_headers(other) == []


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_signature_is_bare_in_its_own_format_and_sealed_in_all_others(dialect: Dialect) -> None:
    writer = MessagesStreamWriter("msg_1", "m")
    stream = b"".join(
        (
            writer.message_start({"input_tokens": 1, "output_tokens": 0}),
            writer.thinking_start(),
            writer.delta("t"),
            writer.signature("c2ln"),
            writer.block_stop(),
        )
    )
    decoder = ANTHROPIC.decoder(len, frame_bytes_max=1 << 16)
    batch = ANTHROPIC.restored(decoder, start(dialect)).receive_data(stream)
    (seal,) = [event.signature for event in batch.events if isinstance(event, BlockFinished)]
    own = sealed("c2ln", wire=Dialect.MESSAGES, provider="claude")
    assert seal == ("c2ln" if dialect is Dialect.MESSAGES else own)


def test_calls_come_back_as_the_client_knows_them() -> None:
    tool = Tool("g", namespace="n")
    free = Tool("c", kind=ToolKind.CUSTOM)
    asked = start(Dialect.RESPONSES, tools=(tool, free))
    names = [one["name"] for one in ANTHROPIC.request_body(asked, CONFIG)["tools"]]
    assert names == ["n__g", "c"]
    writer = MessagesStreamWriter("msg_1", "m")
    stream = writer.message_start({"input_tokens": 1, "output_tokens": 0})
    for index, name in enumerate(names):
        stream += (
            writer.tool_use_start(f"t{index}", name) + writer.delta("{}") + writer.block_stop()
        )
    decoder = ANTHROPIC.decoder(len, frame_bytes_max=1 << 16)
    batch = ANTHROPIC.restored(decoder, asked).receive_data(stream)
    calls = [event for event in batch.events if isinstance(event, ToolCallStarted)]
    assert [(call.name, call.namespace, call.kind) for call in calls] == [
        ("g", "n", ToolKind.FUNCTION),
        ("c", None, ToolKind.CUSTOM),
    ]
