"""A client's own body on its way to a provider of its format: whatever is in it, nothing raises."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.request import Dialect
from actors.core.wire import anthropic, openai_chat, responses
from actors.core.wire.own_body import PreparedBody
from actors.core.wire.recipient import Recipient
from tests.core.wires import JSON

FORMATS: dict[Dialect, Callable[[Mapping[str, Any], Recipient], PreparedBody]] = {
    Dialect.CHAT: openai_chat.prepared,
    Dialect.MESSAGES: anthropic.prepared,
    Dialect.RESPONSES: responses.prepared,
}

WORDS = st.sampled_from(
    [
        "text",
        "tool_use",
        "tool_result",
        "thinking",
        "image",
        "document",
        "function",
        "web_search",
        "reasoning",
        "namespace",
        "user",
        "assistant",
        "system",
        "tool",
        "developer",
        "",
    ]
)
NAMES = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "text",
        "id",
        "tool_use_id",
        "call_id",
        "tool_call_id",
        "source",
        "tool_calls",
        "function",
        "parameters",
        "input_schema",
        "tools",
        "signature",
        "image_url",
        "encrypted_content",
        "output",
        "name",
        "media_type",
        "data",
        "url",
        "refusal",
    ]
)
INNER = st.recursive(
    JSON | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)
BODIES = st.dictionaries(
    st.sampled_from(
        [
            "messages",
            "input",
            "system",
            "tools",
            "tool_choice",
            "thinking",
            "stop",
            "temperature",
            "logprobs",
            "top_logprobs",
            "modalities",
            "prompt",
            "MESSAGES",
            "n_predict",
        ]
    ),
    INNER | st.lists(st.dictionaries(NAMES, INNER, max_size=6), max_size=4),
    max_size=6,
)


@pytest.mark.parametrize("dialect", FORMATS)
@settings(max_examples=60)
@given(body=BODIES)
def test_nothing_that_is_in_a_body_raises(dialect: Dialect, body: dict[str, Any]) -> None:
    before = json.dumps(body)
    for host in ("p.test", "api.openai.com", "api.mistral.ai"):
        own = FORMATS[dialect](body, Recipient(dialect, "p", host))
        json.dumps(own.body)
        assert all(isinstance(path, str) for path in own.left_out)
    assert json.dumps(body) == before, "the client's own is not changed"


@pytest.mark.parametrize("dialect", FORMATS)
def test_what_needs_no_mend_is_the_very_object_that_came(dialect: Dialect) -> None:
    said = [{"role": "user", "content": [{"type": "text", "text": "x", "of_a_vendor": {"a": 1}}]}]
    name = "input" if dialect is Dialect.RESPONSES else "messages"
    own = FORMATS[dialect]({"model": "m", name: said}, Recipient(dialect, "p", "p.test"))
    assert own.body[name][0] is said[0]
    assert not own.left_out
