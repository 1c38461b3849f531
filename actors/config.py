"""The configuration file: which providers exist, which models they serve, at what price.

Addresses and keys of providers come from here and from the environment alone. A mistake in the
file is one sentence that names the member.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError, model_validator

__all__ = [
    "Config",
    "ConfigError",
    "FailedCharge",
    "HoldMode",
    "ModelConfig",
    "ProviderConfig",
    "ProviderKind",
    "TimeoutsConfig",
    "load_config",
]


class ConfigError(ValueError):
    """The file cannot be used; the message is one sentence that names the member."""


class ProviderKind(StrEnum):
    """The wire format that a provider speaks."""

    OPENAI_CHAT = "openai_chat"
    ANTHROPIC_MESSAGES = "anthropic_messages"
    OPENAI_RESPONSES = "openai_responses"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeoutsConfig(_Strict):
    """In seconds; the setting of the same name where absent. A model's come before its provider's."""

    connect_s: Annotated[float, Field(gt=0)] | None = None
    first_token_s: Annotated[float, Field(gt=0)] | None = None
    idle_s: Annotated[float, Field(gt=0)] | None = None
    total_s: Annotated[float, Field(gt=0)] | None = None


class HoldMode(StrEnum):
    """How much of an answer is held for before it starts."""

    STEPS = "steps"  # some thousand tokens, and more before they are used up
    FULL = "full"  # the whole limit at once


class FailedCharge(StrEnum):
    """What is charged for a completion that failed after output."""

    NONE = "none"
    DELIVERED = "delivered"


class ProviderConfig(_Strict):
    """`base_url` ends where the wire format's path begins, as in an SDK: `https://host/v1`.

    `api_key_env` names the environment variable that holds the key; none is sent without it.
    `running_usage` asks for usage with every frame where the server understands one of the two
    vendor members (vLLM, SGLang: `continuous_usage_stats`; llama.cpp: `timings_per_token`).
    `pass_through` names the members that lift a limit, cost extra or choose another model, and the
    types of hosted tools, that may go on to this provider; by default none does.
    """

    kind: ProviderKind = ProviderKind.OPENAI_CHAT
    base_url: HttpUrl
    api_key_env: str | None = None
    native_background: bool = False
    running_usage: bool = False
    pass_through: tuple[str, ...] = ()
    timeouts: TimeoutsConfig = TimeoutsConfig()


Credits = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6)]


class ModelConfig(_Strict):
    """What a model costs and may do. Only `provider` and `upstream_model` are needed.

    Prices are credits per million tokens, with up to six decimals; cached input costs what other
    input does where it has no price of its own. `max_output_tokens_hard_cap` and
    `default_max_output_tokens` are the operator's wish: without one there is no cap, and no limit is
    sent that the client did not give. `capabilities` is what the models list shows.
    `hidden_reasoning_tokens_per_second` is what a provider is taken to have thought, while it shows
    nothing, when a completion is cancelled.
    """

    provider: str
    upstream_model: str
    input_credits_per_million: Credits = Decimal(75)
    output_credits_per_million: Credits = Decimal(450)
    cache_read_credits_per_million: Credits | None = None
    cache_write_5m_credits_per_million: Credits | None = None
    cache_write_1h_credits_per_million: Credits | None = None
    context_window: Annotated[int, Field(ge=1)] = 262_144
    max_output_tokens_hard_cap: Annotated[int, Field(ge=1)] | None = None
    default_max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    capabilities: tuple[str, ...] = ()
    tokenizer_is_exact: bool = False
    hold: HoldMode = HoldMode.STEPS
    charge_failed: FailedCharge = FailedCharge.NONE
    hidden_reasoning_tokens_per_second: Annotated[float, Field(gt=0)] | None = None
    timeouts: TimeoutsConfig = TimeoutsConfig()

    @model_validator(mode="after")
    def _default_within_cap(self) -> ModelConfig:
        default, cap = self.default_max_output_tokens, self.max_output_tokens_hard_cap
        if default is not None and cap is not None and default > cap:
            raise ValueError("default_max_output_tokens is above max_output_tokens_hard_cap")
        return self


class Config(_Strict):
    providers: dict[str, ProviderConfig] = {}
    models: dict[str, ModelConfig] = {}
    aliases: dict[str, str] = {}
    simulator: bool = True
    """Where the file does not say it: whether no provider is configured."""

    @model_validator(mode="before")
    @classmethod
    def _simulator_alone(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("providers") and "simulator" not in value:
            return {**value, "simulator": False}
        return value

    @model_validator(mode="after")
    def _names_resolve(self) -> Config:
        for slug, model in self.models.items():
            if model.provider not in self.providers:
                raise ValueError(f"models.{slug}.provider names no provider: {model.provider!r}")
        return self


def load_config(path: str) -> Config:
    """Read the file; "" gives the built-in catalogue alone.

    Raises:
        ConfigError: it cannot be read, is no YAML, or a member is wrong; names the member.
    """
    if not path:
        return Config()
    try:
        value: Any = yaml.safe_load(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{path} is not valid YAML.") from None
    try:
        return Config.model_validate(value if value is not None else {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        member = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {member or 'the file'}: {first['msg']}.") from None
