"""The configuration file: which providers exist, which models they serve, at what price.

Addresses and keys of providers come from here and from the environment alone. A mistake in the
file is one sentence that names the member.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError, model_validator

__all__ = ["Config", "ConfigError", "ModelConfig", "ProviderConfig", "ProviderKind", "load_config"]


class ConfigError(ValueError):
    """The file cannot be used; the message is one sentence that names the member."""


class ProviderKind(StrEnum):
    """The wire format that a provider speaks."""

    OPENAI_CHAT = "openai_chat"
    ANTHROPIC_MESSAGES = "anthropic_messages"
    OPENAI_RESPONSES = "openai_responses"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProviderConfig(_Strict):
    """`base_url` ends where the wire format's path begins, as in an SDK: `https://host/v1`.

    `api_key_env` names the environment variable that holds the key; none is sent without it.
    `running_usage` asks for usage with every frame where the server understands one of the two
    vendor members (vLLM, SGLang: `continuous_usage_stats`; llama.cpp: `timings_per_token`).
    """

    kind: ProviderKind = ProviderKind.OPENAI_CHAT
    base_url: HttpUrl
    api_key_env: str | None = None
    native_background: bool = False
    running_usage: bool = False


class ModelConfig(_Strict):
    provider: str
    upstream_model: str
    input_credits_per_million: Annotated[int, Field(ge=0)] = 75
    output_credits_per_million: Annotated[int, Field(ge=0)] = 450
    context_window: Annotated[int, Field(ge=1)] = 262_144
    max_output_tokens_hard_cap: Annotated[int, Field(ge=1)] = 8_192
    default_max_output_tokens: Annotated[int, Field(ge=1)] = 1_024
    capabilities: tuple[str, ...] = ()
    tokenizer_is_exact: bool = False

    @model_validator(mode="after")
    def _default_within_cap(self) -> ModelConfig:
        if self.default_max_output_tokens > self.max_output_tokens_hard_cap:
            raise ValueError("default_max_output_tokens is above max_output_tokens_hard_cap")
        return self


class Config(_Strict):
    providers: dict[str, ProviderConfig] = {}
    models: dict[str, ModelConfig] = {}
    aliases: dict[str, str] = {}
    simulator: bool = True

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
