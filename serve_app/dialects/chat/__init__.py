"""The chat dialect: OpenAI-compatible chat completions as Aurous Labs publishes them."""

from serve_app.dialects.chat.dialect import CHAT, ChatDialect

__all__ = ["CHAT", "ChatDialect"]
