"""The catalogue: what is sold, how the configuration changes it, and what admission refuses."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from actors.core.completion.token_meter import hold_microcredits
from actors.core.errors import InvalidRequest, RequestError, UnknownModel
from actors.core.request import (
    CompletionRequest,
    Dialect,
    IdempotencyKey,
    Message,
    Prices,
    Role,
    Sampling,
    StartCommand,
    TextPart,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from actors.ports.ledger import Principal
from actors.settings import Settings
from actors.upstream.catalogue import SIMULATOR, Catalogue
from actors.upstream.config import Config, ConfigError
from actors.upstream.terms import FULL_OUTPUT_TOKENS
from actors.upstream.tokenizer import count_prompt

URL = "http://127.0.0.1:4000"
PRINCIPAL = Principal(team="demo", organization="org_demo", key_id="key_1")
MESSAGES = (Message(Role.USER, (TextPart("hello world"),)),)


def catalogue(url: str | None = URL, **members: Any) -> Catalogue:
    return Catalogue(Config.model_validate(members), simulator_url=url)


def resolve(
    where: Catalogue,
    request: CompletionRequest,
    dialect: Dialect = Dialect.CHAT,
    *,
    is_strict: bool = False,
    **settings: Any,
) -> StartCommand:
    return where.resolve(
        request,
        completion_id="cmp_1",
        wire_id="mine",
        principal=PRINCIPAL,
        dialect=dialect,
        created_at_s=12.5,
        settings=Settings(**{"total_timeout_s": 77.0, "strict_contracts": is_strict, **settings}),
        idempotency=IdempotencyKey("k", "f"),
    )


def ask(model: str = "sim", **members: Any) -> CompletionRequest:
    return CompletionRequest(model=model, messages=MESSAGES, **members)


CONFIGURED = {
    "simulator": True,
    "providers": {"local": {"base_url": "http://127.0.0.1:9/v1"}},
    "models": {
        "tiny": {
            "provider": "local",
            "upstream_model": "tiny-1b",
            "input_credits_per_million": 7,
            "output_credits_per_million": 11,
            "context_window": 10,
            "max_output_tokens_hard_cap": 100,
            "default_max_output_tokens": 20,
            "capabilities": ["reasoning_effort", "tool_choice_required"],
        }
    },
}


# What is sold.


def test_the_built_in_models_share_price_limits_and_an_exact_tokenizer() -> None:
    models = catalogue().models()
    slugs = [model.slug for model in models]
    assert slugs == sorted(slugs)
    assert {"sim", "sim-instant", "sim-slow", "sim-error", "sim-stall"} <= set(slugs)
    for model in models:
        assert model.provider == SIMULATOR
        assert model.prices == Prices(75, 450)
        assert model.default_max_output_tokens == (1024 if "long" in model.slug else None)
        assert model.max_output_tokens_hard_cap == 65_536
        assert model.tokenizer_is_exact


@pytest.mark.parametrize("alias", ["aurous-grow-2.0-pro", "ftg-3.0"])
def test_an_alias_is_sold_under_its_own_name_and_asked_for_under_its_targets(alias: str) -> None:
    model = catalogue().lookup(alias)
    assert (model.slug, model.upstream_model, model.alias_of) == (alias, "sim", "sim")


def test_an_unknown_model_is_named_in_the_error() -> None:
    with pytest.raises(UnknownModel, match="gpt-9"):
        catalogue().lookup("gpt-9")


@pytest.mark.parametrize("slug", ["tiny@2024", "tiny@messages", "sim@messages"])
def test_a_configured_name_may_have_an_at_sign(slug: str) -> None:
    where = catalogue(**{**CONFIGURED, "models": {slug: CONFIGURED["models"]["tiny"]}})
    assert (where.lookup(slug).slug, where.lookup(slug).provider) == (slug, "local")
    with pytest.raises(UnknownModel):
        where.lookup(f"{slug}@messages")


def test_an_alias_of_a_built_in_model_can_be_had_through_every_wire_format() -> None:
    where = catalogue(aliases={"mine@2024": "sim"})
    for wire in ("messages", "responses", "background"):
        assert where.lookup(f"mine@2024@{wire}").provider == f"simulator-{wire}"
    with pytest.raises(UnknownModel):
        where.lookup("mine@messages")


def test_without_the_simulator_nothing_is_built_in() -> None:
    assert catalogue(simulator=False).models() == []
    with pytest.raises(UnknownModel):
        catalogue(simulator=False).lookup("ftg-3.0")
    with pytest.raises(ConfigError):
        catalogue(simulator=False).provider(SIMULATOR)


def test_the_simulator_is_reached_at_its_address() -> None:
    assert str(catalogue().provider(SIMULATOR).base_url) == f"{URL}/v1"


def test_its_models_are_known_where_its_address_is_not() -> None:
    without = catalogue(url=None)
    assert without.lookup("sim").provider == SIMULATOR
    with pytest.raises(ConfigError, match="simulator"):
        without.provider(SIMULATOR)


def test_the_configuration_adds_and_replaces() -> None:
    members = {**CONFIGURED, "aliases": {"small": "tiny", "ftg-3.0": "tiny"}}
    members["models"] = {**CONFIGURED["models"], "sim": CONFIGURED["models"]["tiny"]}
    where = catalogue(**members)
    assert where.lookup("tiny").prices == Prices(7, 11)
    assert not where.lookup("tiny").tokenizer_is_exact
    assert where.lookup("small").upstream_model == "tiny-1b"
    assert where.lookup("ftg-3.0").provider == "local"
    assert where.lookup("sim").provider == "local"
    assert where.lookup("sim-slow").provider == SIMULATOR


def test_a_configured_model_replaces_a_built_in_alias() -> None:
    models = {"ftg-3.0": CONFIGURED["models"]["tiny"]}
    assert catalogue(**{**CONFIGURED, "models": models}).lookup("ftg-3.0").alias_of is None


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"aliases": {"a": "nothing"}}, "aliases.a"),
        ({"aliases": {"a": "ftg-3.0"}}, "aliases.a"),
        ({**CONFIGURED, "aliases": {"tiny": "sim"}}, "aliases.tiny"),
        (
            {"providers": {"p": {"base_url": URL, "native_background": True}}},
            "providers.p.native_background",
        ),
    ],
)
def test_a_wrong_entry_is_named(members: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        catalogue(**members)


# Admission.


def test_the_contracts_vector_of_a_hold() -> None:
    assert hold_microcredits(Prices(75, 450), 120, 256) == 125_100


@pytest.mark.parametrize(
    ("estimate", "output", "hold"),
    [(0, 0, 0), (1, 0, 83), (10, 1, 825 + 450), (13, 64, 1073 + 28_800)],
)
def test_a_hold_is_rounded_up_and_never_a_float(estimate: int, output: int, hold: int) -> None:
    assert hold_microcredits(Prices(75, 450), estimate, output) == hold
    assert type(hold_microcredits(Prices(75, 450), estimate, output)) is int


def test_a_hold_beyond_floating_point_is_exact() -> None:
    assert hold_microcredits(Prices(10**12 + 1, 0), 10**9 + 1, 0) == -(
        -11 * (10**9 + 1) * (10**12 + 1) // 10
    )


def test_a_request_becomes_a_command() -> None:
    command = resolve(catalogue(), ask("ftg-3.0", max_output_tokens=10))
    estimate = count_prompt(MESSAGES, ())
    assert command == StartCommand(
        completion_id="cmp_1",
        wire_id="mine",
        team="demo",
        key_id="key_1",
        dialect=Dialect.CHAT,
        request=ask("ftg-3.0", max_output_tokens=10),
        model="ftg-3.0",
        provider=SIMULATOR,
        upstream_model="sim",
        prices=Prices(75, 450),
        prompt_tokens_estimated=estimate,
        tokenizer_is_exact=True,
        max_output_tokens=10,
        hold_microcredits=(11 * estimate * 75 + 9) // 10 + 4500,
        created_at_s=12.5,
        total_timeout_s=77.0,
        idempotency=IdempotencyKey("k", "f"),
        hold_step_tokens=4_096,
    )
    assert pickle.loads(pickle.dumps(command)) == command


def test_without_a_limit_the_models_default_is_held_and_sent() -> None:
    assert resolve(catalogue(), ask("sim-long")).max_output_tokens == 1024
    assert resolve(catalogue(**CONFIGURED), ask("tiny")).max_output_tokens == 20


def test_the_hard_cap_itself_is_allowed() -> None:
    assert resolve(catalogue(), ask(max_output_tokens=65_536)).max_output_tokens == 65_536


def test_a_limit_above_the_cap_is_lowered_and_said() -> None:
    command = resolve(catalogue(**CONFIGURED), ask("tiny", max_output_tokens=101))
    assert (command.max_output_tokens, command.adjusted) == (100, ("max_tokens=100",))


@pytest.mark.parametrize(
    "request_", [ask(max_output_tokens=65_537), ask("tiny", max_output_tokens=101)]
)
def test_strict_contracts_refuse_a_limit_above_the_cap(request_: CompletionRequest) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(catalogue(**CONFIGURED), request_, strict_contracts=True)
    assert (caught.value.reason, caught.value.param) == (
        "max_tokens_exceeds_hard_cap",
        "max_tokens",
    )


def configured(**members: Any) -> Catalogue:
    """A catalogue with one model, `plain`, that has these members and no others."""
    provider = {"base_url": "http://127.0.0.1:9/v1", "timeouts": {"idle_s": 7, "connect_s": 8}}
    model = {"provider": "local", "upstream_model": "m", **members}
    return catalogue(providers={"local": provider}, models={"plain": model})


def test_without_client_and_operator_there_is_no_limit_and_a_step_is_held() -> None:
    command = resolve(configured(), ask("plain"))
    assert command.max_output_tokens is None
    assert command.hold_step_tokens == 4_096
    assert command.hold_microcredits == hold_microcredits(
        command.prices, command.prompt_tokens_estimated, 4_096
    )


@pytest.mark.parametrize(
    ("members", "limit", "held_for"),
    [
        ({}, 100, 100),
        ({}, 100_000, 4_096),
        ({"max_output_tokens_hard_cap": 50}, None, 50),
        ({"default_max_output_tokens": 60, "max_output_tokens_hard_cap": 90}, None, 60),
        ({"hold": "full"}, 100_000, 100_000),
        ({"hold": "full"}, None, FULL_OUTPUT_TOKENS),
    ],
)
def test_what_is_held_at_first(members: dict[str, Any], limit: int | None, held_for: int) -> None:
    command = resolve(configured(**members), ask("plain", max_output_tokens=limit))
    assert command.hold_microcredits == hold_microcredits(
        command.prices, command.prompt_tokens_estimated, held_for
    )
    assert (command.hold_step_tokens is None) == ("hold" in members)


def test_strict_contracts_hold_in_full() -> None:
    command = resolve(configured(), ask("plain", max_output_tokens=9_000), strict_contracts=True)
    assert command.hold_step_tokens is None
    assert command.hold_microcredits == hold_microcredits(
        command.prices, command.prompt_tokens_estimated, 9_000
    )


def test_prices_are_exact_decimals() -> None:
    members = {
        "input_credits_per_million": "0.15",
        "output_credits_per_million": 3,
        "cache_read_credits_per_million": 0.015,
        "cache_write_1h_credits_per_million": "0.300001",
    }
    prices = configured(**members).lookup("plain").prices
    assert prices == Prices(
        Decimal("0.15"),
        3,
        cache_read_microcredits=Decimal("0.015"),
        cache_write_1h_microcredits=Decimal("0.300001"),
    )
    assert prices.input_picocredits == prices.cache_write_5m_picocredits == 150_000
    assert prices.cache_read_picocredits == 15_000
    assert prices.cache_write_1h_picocredits == 300_001
    assert msgspec.json.decode(msgspec.json.encode(prices), type=Prices) == prices


def test_a_models_own_terms_travel_with_its_command() -> None:
    members = {
        "charge_failed": "delivered",
        "hidden_reasoning_tokens_per_second": 62.5,
        "timeouts": {"idle_s": 5, "total_s": 9_000},
    }
    command = resolve(configured(**members), ask("plain"))
    assert command.charges_failed
    assert command.hidden_reasoning_tokens_per_1000_s == 62_500
    assert command.total_timeout_s == 9_000
    assert (command.idle_timeout_s, command.connect_timeout_s) == (5, 8), "the provider's is second"
    assert command.first_token_timeout_s is None, "the setting's"


REQUIRED = ToolChoice(ToolChoiceMode.REQUIRED)
LONG = CompletionRequest("tiny", (Message(Role.USER, (TextPart("hello " * 20),)),))


@pytest.mark.parametrize(
    ("request_", "reason", "param"),
    [
        (ask(tool_choice=REQUIRED), "tool_choice_required_unsupported", "tool_choice"),
        (LONG, "max_input_tokens_exceeded", "messages"),
    ],
)
def test_strict_contracts_refuse_a_request_beyond_its_model(
    request_: CompletionRequest, reason: str, param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(catalogue(**CONFIGURED), request_, is_strict=True)
    assert (caught.value.reason, caught.value.param) == (reason, param)


def test_a_context_window_that_nobody_gave_refuses_nothing() -> None:
    where = catalogue(
        providers={"p": {"base_url": "http://p.test/v1"}},
        models={"m": {"provider": "p", "upstream_model": "m"}},
    )
    long = CompletionRequest("m", (Message(Role.USER, (TextPart("hello " * 300_000),)),))
    assert resolve(where, long).prompt_tokens_estimated > where.lookup("m").context_window


def test_a_prompt_beyond_the_context_window_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(catalogue(**CONFIGURED), LONG)
    assert caught.value.reason == "max_input_tokens_exceeded"


@pytest.mark.parametrize(
    ("dialect", "told"),
    [
        (Dialect.CHAT, "max_tokens=100"),
        (Dialect.MESSAGES, "max_tokens=100"),
        (Dialect.RESPONSES, "max_output_tokens=100"),
    ],
)
def test_a_limit_above_the_cap_is_lowered_to_it_and_told(dialect: Dialect, told: str) -> None:
    command = resolve(catalogue(**CONFIGURED), ask("tiny", max_output_tokens=101), dialect)
    assert (command.max_output_tokens, command.adjusted) == (100, (told,))
    command = resolve(catalogue(**CONFIGURED), ask("tiny", max_output_tokens=100), dialect)
    assert (command.max_output_tokens, command.adjusted) == (100, ())


@pytest.mark.parametrize(
    ("kind", "cap", "limit", "told"),
    [
        ("openai_chat", None, None, ()),
        ("openai_responses", None, None, ()),
        ("anthropic_messages", None, 32_000, ("max_tokens=32000",)),
        ("anthropic_messages", 4_096, 4_096, ("max_tokens=4096",)),
    ],
)
def test_a_limit_that_nobody_gave_is_sent_only_where_the_format_demands_one(
    kind: str, cap: int | None, limit: int | None, told: tuple[str, ...]
) -> None:
    model = {"provider": "p", "upstream_model": "m", "max_output_tokens_hard_cap": cap}
    where = catalogue(
        providers={"p": {"kind": kind, "base_url": "http://p.test/v1"}}, models={"m": model}
    )
    command = resolve(where, ask("m"))
    assert (command.max_output_tokens, command.adjusted) == (limit, told)


def test_an_unknown_model_is_refused_before_its_prompt_is_counted() -> None:
    with pytest.raises(RequestError):
        resolve(catalogue(), ask("nothing"))


@pytest.mark.parametrize("mode", list(ToolChoiceMode))
def test_a_choice_of_tools_is_the_providers_to_refuse(mode: ToolChoiceMode) -> None:
    choice = ToolChoice(mode, "f" if mode is ToolChoiceMode.NAMED else None)
    command = resolve(catalogue(), ask(tools=(Tool("f"),), tool_choice=choice))
    assert command.request.tool_choice == choice


def test_strict_contracts_want_the_capability_for_a_required_tool_and_no_other_choice() -> None:
    def strict(request: CompletionRequest) -> StartCommand:
        return resolve(catalogue(**CONFIGURED), request, is_strict=True)

    assert strict(ask("sim-tools", tool_choice=REQUIRED))
    assert strict(ask("tiny", tool_choice=REQUIRED))
    for mode in (ToolChoiceMode.AUTO, ToolChoiceMode.NONE):
        assert strict(ask(tool_choice=ToolChoice(mode)))
    assert strict(ask(tool_choice=ToolChoice(ToolChoiceMode.NAMED, "f")))


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "xhigh", "max", "a new one"])
def test_every_effort_is_the_providers_to_refuse(effort: str) -> None:
    assert resolve(catalogue(), ask(reasoning_effort=effort)).request.reasoning_effort == effort


def test_strict_contracts_drop_an_effort_that_the_model_does_not_have() -> None:
    request = ask(reasoning_effort="high", body={"reasoning_effort": "high", "messages": []})
    dropped = resolve(catalogue(), request, is_strict=True).request
    assert dropped.reasoning_effort is None and dropped.body == {"messages": []}
    reasoning = ask("sim-reasoning", reasoning_effort="high")
    assert resolve(catalogue(), reasoning, is_strict=True).request.reasoning_effort == "high"


def test_log_probabilities_are_refused_since_no_answer_could_carry_them() -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolve(catalogue(), ask(sampling=Sampling(logprobs=True, top_logprobs=2)))
    assert refused.value.param == "logprobs"
    assert resolve(catalogue(), ask(sampling=Sampling(logprobs=False)))


def test_thinking_is_refused_under_strict_contracts_alone() -> None:
    for model in ("sim", "sim@responses"):
        assert resolve(catalogue(), ask(model, is_reasoning=True)).request.is_reasoning
        with pytest.raises(InvalidRequest) as caught:
            resolve(catalogue(), ask(model, is_reasoning=True), is_strict=True)
        assert caught.value.param == "thinking"
        assert not resolve(catalogue(), ask(model, is_reasoning=False), is_strict=True).ignored
    for model in ("sim-reasoning", "sim@messages"):
        command = resolve(catalogue(), ask(model, is_reasoning=True), is_strict=True)
        assert command.request.is_reasoning


@pytest.mark.parametrize(
    ("said", "is_there"), [({}, False), ({"simulator": True}, True), ({"simulator": False}, False)]
)
def test_the_simulator_is_off_beside_providers_unless_the_file_says_so(
    said: dict[str, bool], is_there: bool
) -> None:
    members = {"providers": {"p": {"base_url": "http://p/v1"}}, **said}
    assert Config.model_validate(members).simulator is is_there
    assert Config.model_validate({}).simulator
    again = Config.model_validate_json(Config.model_validate(members).model_dump_json())
    assert again.simulator is is_there
