"""What a client may not send on to a provider."""

from __future__ import annotations

import pytest

from actors.core.wire.pass_through import held_back, permitted, reason_of

OWN = frozenset({"model", "max_tokens"})


def left(members: dict[str, object], *pass_through: str) -> tuple[str, ...]:
    return held_back(members, own=OWN, pass_through=pass_through)[1]


def test_unknown_members_travel_and_known_dangers_do_not() -> None:
    members = {"model": "m", "max_tokens": 1, "top_k": 3, "n_predict": 9, "plugins": [1]}
    kept, names = held_back(members, own=OWN, pass_through=())
    assert kept == {"model": "m", "max_tokens": 1, "top_k": 3}
    assert names == ("n_predict", "plugins")


@pytest.mark.parametrize("name", ["Max_Tokens", "MODEL", "max_to\u212aens", "N_Predict", "API_KEY"])
def test_a_name_is_compared_as_the_laxest_server_does(name: str) -> None:
    assert left({name: 1}) == (name,)


@pytest.mark.parametrize("value", [None, False, [], {}])
def test_what_asks_for_nothing_is_left_out_in_silence(value: object) -> None:
    kept, names = held_back({"plugins": value}, own=OWN, pass_through=())
    assert (kept, names) == ({}, ())


def test_the_operator_s_list_lets_a_member_go() -> None:
    assert left({"service_tier": "flex", "speed": "fast"}, "service_tier") == ("speed",)


@pytest.mark.parametrize(
    ("kind", "allowed", "may"),
    [
        ("web_search", "web_search", True),
        ("web_search_20250305", "web_search", True),
        ("web_search_20250305", "web_search_20250305", True),
        ("web_search_20260101", "web_search_20250305", False),
        ("web_fetch_20250910", "web_search", False),
        ("web_search_preview", "web", False),
    ],
)
def test_a_tool_s_type_is_allowed_with_or_without_its_date(
    kind: str, allowed: str, may: bool
) -> None:
    assert permitted(kind, (allowed,)) is may


def test_sound_and_pictures_are_paid_for_by_themselves() -> None:
    assert left({"modalities": ["text", "audio"]}) == ("modalities",)
    assert left({"modalities": ["text"]}) == ()


def test_providers_own_prefixes_are_ways_elsewhere() -> None:
    assert reason_of("aws_region_name") is not None
    assert reason_of("top_p") is None
