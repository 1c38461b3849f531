"""OpenAI's chat completions, both directions. `format` has what others import."""
