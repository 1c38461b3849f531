"""Anthropic's messages, both directions. `format` has what others import."""
