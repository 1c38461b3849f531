"""OpenAI's responses, both directions. `format` has what others import."""
