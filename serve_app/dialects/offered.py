"""The dialects that an application speaks, made once for its settings."""

from __future__ import annotations

from dataclasses import dataclass

from serve_app.dialects.base import DialectRules
from serve_app.dialects.chat import ChatDialect
from serve_app.dialects.messages import MessagesDialect
from serve_app.dialects.model_response import MODEL_RESPONSE, ModelResponseDialect
from serve_app.dialects.responses import ResponsesDialect

__all__ = ["Dialects"]


@dataclass(frozen=True, slots=True)
class Dialects:
    """`async_messages` is `messages` as its asynchronous API answers."""

    chat: ChatDialect
    messages: MessagesDialect
    async_messages: MessagesDialect
    responses: ResponsesDialect
    model_response: ModelResponseDialect = MODEL_RESPONSE

    @classmethod
    def made(cls, *, is_strict: bool = False) -> Dialects:
        """Return them all.

        Args:
            is_strict: whether the primary pages' refusals stand where they hurt real clients.
        """
        return cls(
            chat=ChatDialect(is_strict=is_strict),
            messages=MessagesDialect(is_strict=is_strict),
            async_messages=MessagesDialect(is_strict=is_strict, is_async=True),
            responses=ResponsesDialect(is_strict=is_strict),
        )

    def by_name(self) -> dict[str, DialectRules]:
        named: tuple[DialectRules, ...] = (
            self.chat,
            self.messages,
            self.model_response,
            self.responses,
        )
        return {dialect.name: dialect for dialect in named}
