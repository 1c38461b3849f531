"""The members that each provider knows at the top of a request; it refuses every other one."""

from __future__ import annotations

_CHAT = """
    model messages stream stream_options tools tool_choice parallel_tool_calls response_format max_tokens
    max_completion_tokens temperature top_p stop seed n user safety_identifier metadata store
    reasoning_effort verbosity presence_penalty frequency_penalty logit_bias logprobs top_logprobs
    prediction modalities audio service_tier prompt_cache_key prompt_cache_retention web_search_options
"""
_MESSAGES = """
    model messages max_tokens system stream tools tool_choice temperature top_p top_k stop_sequences
    thinking metadata service_tier container context_management mcp_servers output_config output_format
    cache_control inference_geo speed fallbacks diagnostics thread
"""
_RESPONSES = """
    model input instructions stream stream_options tools tool_choice parallel_tool_calls text reasoning
    max_output_tokens temperature top_p top_logprobs truncation user safety_identifier metadata store
    include previous_response_id conversation background prompt prompt_cache_key prompt_cache_retention
    service_tier max_tool_calls client_metadata context_management
"""

CHAT = frozenset(_CHAT.split())
MESSAGES = frozenset(_MESSAGES.split())
RESPONSES = frozenset(_RESPONSES.split())
