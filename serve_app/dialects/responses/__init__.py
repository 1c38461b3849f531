"""The Responses dialect: OpenAI's Responses API with the additions of the GoModel gateway."""

from serve_app.dialects.responses.dialect import RESPONSES, ResponsesDialect

__all__ = ["RESPONSES", "ResponsesDialect"]
