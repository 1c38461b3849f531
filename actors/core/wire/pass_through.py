"""What a client may not send on to a provider: members that lift a limit, cost extra, or choose for us.

A body travels to a provider of its own wire format as it came. What stands in these tables is left out
of it, and named to the caller, unless the provider's configuration lists it (`pass_through`): a limit
that the hold does not know, a service that is billed beside the tokens, another model, address or
account than the operator's, state that callers of one provider's key share.

Rules: names are compared as the laxest server does, without regard to case (Go's JSON decoder takes
`Max_Tokens` and even a long s for a plain one); a member that is so one of the format's own, spelt
otherwise, never travels. The tables are of all wire formats together: servers that speak one take
members of another's.

Source: API references of OpenAI, Azure OpenAI, Anthropic, OpenRouter, xAI, Perplexity, DashScope and
LiteLLM; servers' documentation of vLLM, SGLang, llama.cpp, Ollama and Text Generation Inference; all read
2026-11-25.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

__all__ = ["Reason", "held_back", "permitted", "reason_of"]


class Reason(Enum):
    """Why a member does not travel by itself."""

    LIMIT = "lifts a limit, or makes more of an answer than one"
    COST = "is paid for beside the tokens, or changes their price"
    ROUTE = "chooses another model, address, account or machine"
    STATE = "reaches what other callers of the same key may have stored"
    SERVER = "runs or changes something in the server itself"


_NAMES: Mapping[Reason, tuple[str, ...]] = {
    Reason.LIMIT: (
        "best_of", "ignore_eos", "ignore_eos_token", "max_completion_tokens", "max_gen_len",
        "max_length", "max_new_tokens", "max_output_tokens", "max_tokens", "max_tokens_to_sample",
        "maxOutputTokens", "maxTokens", "min_length", "min_new_tokens", "min_tokens", "n", "n_best",
        "n_predict", "num_beams", "num_completions", "num_predict", "num_return_sequences",
        "candidateCount", "candidate_count", "generationConfig", "generation_config", "beam_width",
        "use_beam_search", "echo",
        "options",  # Ollama: `num_predict` and the model's own settings
        "parameters",  # Text Generation Inference: `max_new_tokens`
        "sampling_params",  # SGLang: `max_new_tokens`, `ignore_eos`, `n`
        "prompt_logprobs", "return_full_text",
    ),
    Reason.COST: (
        "audio", "enable_citations", "enable_search", "fast_mode", "inference_geo", "plugins",
        "prediction",  # what it rejects is paid for
        "return_images", "return_related_questions", "search", "search_mode", "search_options",
        "search_parameters", "service_tier", "serviceTier", "speed", "web_search",
        "web_search_options",
    ),
    Reason.ROUTE: (
        "allow_fallbacks", "api_base", "api_key", "api_type", "api_version", "apiKey", "base_model",
        "base_url", "baseURL", "bootstrap_host", "bootstrap_port", "bootstrap_room", "callback_url",
        "callbacks", "context_window_fallbacks", "content_policy_fallbacks", "custom_llm_provider",
        "data_parallel_rank", "deployment", "deployment_id", "engine", "extra_args", "extra_body",
        "extra_headers", "extra_query", "fallback_models", "fallbacks", "headers", "id_slot",
        "kv_transfer_params", "lora", "lora_path", "lora_request", "mock_response", "mock_timeout",
        "mock_tool_calls", "model_id", "model_info", "model_list", "models", "num_retries",
        "organization", "preset", "priority", "project", "provider", "proxy", "region_name",
        "request_id", "rid", "route", "routed_dp_rank", "slot_id", "transforms", "url",
        "vllm_xargs", "webhook", "webhook_url",
    ),
    Reason.STATE: (
        "container", "conversation", "conversation_id", "data_sources", "mcp_servers",
        "previous_interaction_id", "previous_response_id", "prompt", "prompt_id", "session_params",
        "store", "thread_id", "assistant_id", "cached_content", "cachedContent",
    ),
    Reason.SERVER: (
        "background", "chat_template", "custom_logit_processor", "custom_params", "guardrails",
        "keep_alive", "logits_processors", "raw", "return_hidden_states", "template",
    ),
}  # fmt: skip

_ROUTE_PREFIXES = ("aws_", "azure_", "litellm_", "vertex_", "watsonx_")


_REASONS = {name.casefold(): reason for reason, names in _NAMES.items() for name in names}


def reason_of(name: str) -> Reason | None:
    """Return why a member does not travel, None where it may."""
    folded = name.casefold()
    return Reason.ROUTE if folded.startswith(_ROUTE_PREFIXES) else _REASONS.get(folded)


def permitted(name: str, pass_through: Collection[str]) -> bool:
    """Return whether the operator's list has a member, or a type of tool, with or without its date."""
    if name in pass_through:
        return True
    stem, _, version = name.rpartition("_")
    return len(version) == 8 and version.isdigit() and stem in pass_through


def held_back(
    members: Mapping[str, Any], *, own: Collection[str], pass_through: Collection[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the members that may travel, and the names of those that were left out.

    Args:
        own: the format's members, which whoever sends the request answers for.
        pass_through: what the provider's configuration lets through.
    """
    folded_own = {name.casefold() for name in own}
    kept: dict[str, Any] = {}
    names: list[str] = []
    for name, value in members.items():
        if name in own or permitted(name, pass_through):
            kept[name] = value
        elif name.casefold() in folded_own or reason_of(name) is not None:
            if not _says_nothing(name, value):
                names.append(name)
        elif name == "modalities" and isinstance(value, list) and value != ["text"]:
            names.append(name)  # Audio and images are billed at prices of their own.
        else:
            kept[name] = value
    return kept, tuple(names)


def _says_nothing(name: str, value: Any) -> bool:
    """Return whether a member that is left out asked for nothing: then nobody need be told."""
    return value is None or value is False or value in ([], {}) or (name == "n" and value == 1)
