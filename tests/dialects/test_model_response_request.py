"""What a model-response body may say, what it becomes, and how what is wrong with it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.core.errors import InvalidRequest, RequestError
from actors.core.request import CompletionRequest, ImagePart, Message, Role, TextPart
from serve_app.dialects.base import HttpCall, Operation
from serve_app.dialects.model_response import MODEL_RESPONSE
from serve_app.dialects.model_response.dialect import ModelResponseCall

SAID = [{"role": "user", "texts": [{"text": "Hello."}]}]


def call(**members: Any) -> HttpCall:
    value = {"organization_id": "org", "inputs": SAID, **members}
    return HttpCall({}, {}, json.dumps(value).encode())


def parsed(**members: Any) -> ModelResponseCall:
    return MODEL_RESPONSE.parse_create(call(**members))


def request(**members: Any) -> CompletionRequest:
    return parsed(**members).request


def error(body: HttpCall) -> dict[str, Any]:
    with pytest.raises(RequestError) as caught:
        MODEL_RESPONSE.parse_create(body)
    reply = MODEL_RESPONSE.error(caught.value, operation=Operation.CREATE, request_id="req_1")
    assert reply.status == 400
    value: dict[str, Any] = json.loads(reply.body)["error"]
    assert value["type"] == "invalid_request_error"
    return value


def test_the_least_that_can_be_asked() -> None:
    got = parsed()
    assert got.organization == "org"
    assert got.request.model == "ftg-3.0"
    assert got.request.messages == (Message(Role.USER, (TextPart("Hello."),)),)
    assert got.request.max_output_tokens is None
    assert not got.request.stream
    assert not got.request.background


def test_the_contracts_own_example() -> None:
    got = request(model="ftg-3.0", background=True, maxOutputSynapses=64)
    assert got.background
    assert got.max_output_tokens == 640


@pytest.mark.parametrize("name", ["maxOutputSynapses", "max_output_synapses"])
def test_a_synapse_is_ten_tokens(name: str) -> None:
    assert request(**{name: 7}).max_output_tokens == 70


@pytest.mark.parametrize("name", ["organizationId", "organization_id"])
def test_the_organization_has_two_spellings(name: str) -> None:
    assert parsed(**{"organization_id": None, name: "org_2"}).organization == "org_2"


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"role": "user", "content": "Hi."}, (TextPart("Hi."),)),
        ({"role": "user", "content": [{"type": "text", "text": "a"}]}, (TextPart("a"),)),
        ({"role": "user", "content": [{"type": "input_text", "text": "a"}]}, (TextPart("a"),)),
        (
            {"role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
            (TextPart("a"),),
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "https://a/b"}]},
            (ImagePart("https://a/b"),),
        ),
        (
            {"role": "user", "texts": [{"text": "a"}, {"text": "b"}], "audio": [], "files": []},
            (TextPart("a"), TextPart("b")),
        ),
        (
            {"role": "user", "texts": [{"text": "a"}], "images": [{"url": "https://a/b"}]},
            (TextPart("a"), ImagePart("https://a/b")),
        ),
        ({"role": "system", "id": "msg_1", "texts": [{"text": "a"}]}, (TextPart("a"),)),
    ],
)
def test_messages_of_both_generations(message: dict[str, Any], parts: tuple[Any, ...]) -> None:
    assert request(inputs=[message]).messages[0].parts == parts


def test_what_nobody_knows_is_kept_for_whoever_tells_that_it_was_ignored() -> None:
    assert request(temperature=0.5, colour="red").extra == {"temperature": 0.5, "colour": "red"}


def test_members_that_say_nothing_are_taken() -> None:
    quiet = request(rules=[], assistant_id=None, disable_rules=True, n=1, tools=[])
    assert set(quiet.extra) <= {"n", "tools"}


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({"organization_id": None}, "missing_required_parameter", "organizationId"),
        ({"organization_id": ""}, "missing_required_parameter", "organizationId"),
        ({"organization_id": 7}, "invalid_parameter", "organizationId"),
        ({"organizationId": "other"}, "invalid_parameter", "organizationId"),
        ({"inputs": None}, "invalid_parameter", "inputs"),
        ({"inputs": []}, "invalid_parameter", "inputs"),
        ({"inputs": [{"texts": [{"text": "a"}]}]}, "missing_required_parameter", "inputs[0].role"),
        ({"inputs": [{"role": "tool", "content": "a"}]}, "invalid_parameter", "inputs[0].role"),
        ({"inputs": [{"role": "user"}]}, "missing_required_parameter", "inputs[0].texts"),
        (
            {"inputs": [{"role": "user", "texts": [{}]}]},
            "missing_required_parameter",
            "inputs[0].texts[0].text",
        ),
        (
            {"inputs": [*SAID, {"role": "user", "content": "a", "texts": [{"text": "b"}]}]},
            "invalid_parameter",
            "inputs[1].content",
        ),
        (
            {"inputs": [{"role": "user", "texts": [{"text": "a"}], "audio": [{"fileId": "f"}]}]},
            "unsupported_parameter",
            "inputs[0].audio",
        ),
        (
            {"inputs": [{"role": "user", "texts": [{"text": "a"}], "files": [{"fileId": "f"}]}]},
            "unsupported_parameter",
            "inputs[0].files",
        ),
        (
            {"inputs": [{"role": "user", "images": [{"fileId": "f"}]}]},
            "unsupported_parameter",
            "inputs[0].images[0].fileId",
        ),
        (
            {"inputs": [{"role": "user", "images": [{}]}]},
            "missing_required_parameter",
            "inputs[0].images[0].url",
        ),
        (
            {"inputs": [{"role": "user", "images": [{"url": "ftp://a"}]}]},
            "invalid_parameter",
            "inputs[0].images[0].url",
        ),
        (
            {"inputs": [{"role": "assistant", "images": [{"url": "https://a/b"}]}]},
            "invalid_parameter",
            "inputs[0]",
        ),
        (
            {"inputs": [{"role": "user", "content": [{"type": "video"}]}]},
            "invalid_parameter",
            "inputs[0].content[0].type",
        ),
        ({"inputs": [{"role": "user", "content": 7}]}, "invalid_parameter", "inputs[0].content"),
        ({"assistant_id": "asst_1"}, "unsupported_parameter", "assistant_id"),
        ({"rules": ["rule_1"]}, "unsupported_parameter", "rules"),
        ({"previous_response_id": "resp_1"}, "unsupported_parameter", "previous_response_id"),
        ({"tools": [{"type": "function"}]}, "unsupported_parameter", "tools"),
        ({"response_format": {"type": "json_object"}}, "unsupported_parameter", "response_format"),
        ({"n": 2}, "unsupported_parameter", "n"),
        ({"maxOutputSynapses": 0}, "invalid_parameter", "maxOutputSynapses"),
        ({"maxOutputSynapses": "9"}, "invalid_parameter", "maxOutputSynapses"),
        (
            {"maxOutputSynapses": 1, "max_output_synapses": 2},
            "invalid_parameter",
            "maxOutputSynapses",
        ),
        ({"stream": "yes"}, "invalid_parameter", "stream"),
        ({"background": 1}, "invalid_parameter", "background"),
        ({"model": ""}, "invalid_parameter", "model"),
    ],
)
def test_what_is_wrong_is_named(members: dict[str, Any], code: str, param: str) -> None:
    got = error(call(**members))
    assert (got["code"], got["param"]) == (code, param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a": NaN}', b"\xff"])
def test_what_is_no_json_object_is_invalid_json(body: bytes) -> None:
    got = error(HttpCall({}, {}, body))
    assert got["code"] == "invalid_json"
    assert "param" not in got


def test_the_organization_of_a_read_is_looked_at_first() -> None:
    for query in ({}, {"organizationId": ""}, {"stream": "maybe"}):
        with pytest.raises(InvalidRequest, match="organizationId is required"):
            MODEL_RESPONSE.parse_read(HttpCall({}, query))


@pytest.mark.parametrize(
    ("query", "headers", "after"),
    [
        ({}, {}, None),
        ({"stream": "false"}, {"last-event-id": "nonsense"}, None),
        ({"stream": "true"}, {}, -1),
        ({"stream": "true", "starting_after": "7"}, {}, 7),
        ({"stream": "true"}, {"last-event-id": "3"}, 3),
        ({"stream": "true", "starting_after": "7"}, {"last-event-id": "3"}, 7),
    ],
)
def test_where_a_stream_begins(
    query: dict[str, str], headers: dict[str, str], after: int | None
) -> None:
    wanted = MODEL_RESPONSE.parse_read(HttpCall(headers, {"organization_id": "org", **query}))
    assert (None if wanted is None else wanted.after) == after
