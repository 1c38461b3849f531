"""Where clients ask in these tests: one Midstream, in front of one scripted provider by each wire format.

Its models are configured as the README shows, provider and upstream model, and nothing else; the built-in
ones are there beside them. An alias begins with `claude`, as Claude Code wants it.
"""

from __future__ import annotations

from tests.clients.rows import Place
from tests.support.instance import DEMO_KEY, Instance

__all__ = ["CONFIG", "KINDS", "place"]

KINDS = ("chat", "messages", "responses")

CONFIG = """
simulator: true
providers:
  chat: {{base_url: "{url}/v1"}}
  messages: {{kind: anthropic_messages, base_url: "{url}/v1"}}
  responses: {{kind: openai_responses, base_url: "{url}/v1"}}
models:
  scripted-chat: {{provider: chat, upstream_model: scripted}}
  scripted-messages: {{provider: messages, upstream_model: scripted}}
  scripted-responses: {{provider: responses, upstream_model: scripted}}
aliases:
  claude-scripted: scripted-messages
"""


def place(gateway: Instance, log: str, kind: str) -> Place:
    """Where to ask for the provider of this wire format; `log` is the provider's own address."""
    return Place(gateway.url, DEMO_KEY, f"scripted-{kind}", log)
