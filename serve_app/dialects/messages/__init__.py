"""The messages dialect: Anthropic's Messages API, and the asynchronous one of PrivateGPT and Zylon on it."""

from serve_app.dialects.messages.dialect import MESSAGES, MessagesDialect

__all__ = ["MESSAGES", "MessagesDialect"]
