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


Seconds = Annotated[float, Field(gt=0)]


class TimeoutsConfig(_Strict):
    """In seconds; the setting of the same name where absent. A model's come before its provider's."""

    connect_s: Seconds | None = Field(None, description="until the provider answers")
    first_token_s: Seconds | None = Field(
        None, description="until its first token, the answer's wait included"
    )
    idle_s: Seconds | None = Field(None, description="between tokens")
    total_s: Seconds | None = Field(None, description="of a completion")


class HoldMode(StrEnum):
    """How much of an answer is held for before it starts."""

    STEPS = "steps"  # some thousand tokens, and more before they are used up
    FULL = "full"  # the whole limit at once


class FailedCharge(StrEnum):
    """What is charged for a completion that failed after output."""

    NONE = "none"
    DELIVERED = "delivered"


class ProviderConfig(_Strict):
    """Where models are, and what they are asked for in."""

    kind: ProviderKind = Field(
        ProviderKind.OPENAI_CHAT,
        description="its wire format: `openai_chat`, `openai_responses` or `anthropic_messages`",
    )
    base_url: HttpUrl = Field(
        description="where the wire format's path begins, as in an SDK: `https://host/v1`"
    )
    api_key_env: str | None = Field(
        None, description="the environment variable that holds its key; none is sent without it"
    )
    native_background: bool = Field(
        False,
        description="background requests are background ones over there (`openai_responses`), "
        "and a cancel is the provider's own too",
    )
    running_usage: bool = Field(
        False,
        description="ask for usage with every frame: vLLM, SGLang (`continuous_usage_stats`), "
        "llama.cpp (`timings_per_token`)",
    )
    pass_through: tuple[str, ...] = Field(
        (),
        description="members that lift a limit, cost extra or choose another model, and types of "
        "hosted tools, that may go on to it",
    )
    timeouts: TimeoutsConfig = Field(TimeoutsConfig(), description="of its models")


Credits = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6)]
Tokens = Annotated[int, Field(ge=1)]

_AS_INPUT = "what other input costs where absent"


class ModelConfig(_Strict):
    """What a model costs and may do. Only `provider` and `upstream_model` are needed.

    Prices are credits per million tokens, with up to six decimals. The limits of output are the operator's
    wish: without one there is no cap, and no limit is sent that the client did not give.
    """

    provider: str = Field(description="one of `providers`")
    upstream_model: str = Field(description="what the provider is asked for")
    input_credits_per_million: Credits = Field(
        Decimal(75), description="of input; up to six decimals, as all prices"
    )
    output_credits_per_million: Credits = Field(
        Decimal(450), description="of output, reasoning included"
    )
    cache_read_credits_per_million: Credits | None = Field(
        None, description=f"of input that was read from a cache; {_AS_INPUT}"
    )
    cache_write_5m_credits_per_million: Credits | None = Field(
        None, description=f"of input that was written into a cache; {_AS_INPUT}"
    )
    cache_write_1h_credits_per_million: Credits | None = Field(
        None, description=f"of input that was written into a cache for an hour; {_AS_INPUT}"
    )
    context_window: Tokens = Field(
        262_144, description="the longest prompt that is sent, in tokens"
    )
    max_output_tokens_hard_cap: Tokens | None = Field(
        None, description="the most output tokens; a request for more gets so many"
    )
    default_max_output_tokens: Tokens | None = Field(
        None, description="the limit of a request that has none"
    )
    capabilities: tuple[str, ...] = Field((), description="what the models list shows")
    tokenizer_is_exact: bool = Field(
        False, description="whether the provider counts tokens as our tokenizer (`o200k`) does"
    )
    hold: HoldMode = Field(
        HoldMode.STEPS,
        description="what is held for: `steps`, or the `full` limit at once",
    )
    charge_failed: FailedCharge = Field(
        FailedCharge.NONE,
        description="what a completion costs that failed after output: `none`, or what was "
        "`delivered`",
    )
    hidden_reasoning_tokens_per_second: Seconds | None = Field(
        None,
        description="what it is taken to think while it shows nothing, where a completion is cancelled",
    )
    timeouts: TimeoutsConfig = Field(
        TimeoutsConfig(), description="of this model, before its provider's"
    )

    @model_validator(mode="after")
    def _default_within_cap(self) -> ModelConfig:
        default, cap = self.default_max_output_tokens, self.max_output_tokens_hard_cap
        if default is not None and cap is not None and default > cap:
            raise ValueError("default_max_output_tokens is above max_output_tokens_hard_cap")
        return self


class Config(_Strict):
    """The whole file."""

    providers: dict[str, ProviderConfig] = Field({}, description="by a name of the operator's")
    models: dict[str, ModelConfig] = Field({}, description="by the name that clients ask for")
    aliases: dict[str, str] = Field({}, description="further names, each of a model")
    simulator: bool = Field(
        True,
        description="whether the built-in models are sold; `false` beside configured providers "
        "where the file does not say it",
    )

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

    Raises: ConfigError: it cannot be read, is no YAML, or a member is wrong; names the member.
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
