"""The simulated models: how fast each one speaks, how much it says, and how it ends.

A table of values and nothing else. The catalogue sells the listed ones; the others exist for tests
of one property each, and are sold too, since a client of the runtime may want to see them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial

__all__ = [
    "ALIASES",
    "CONTEXT_WINDOW",
    "LONG_TOKENS_DEFAULT",
    "MODELS",
    "OUTPUT_TOKENS_MAX",
    "Content",
    "Ending",
    "TOKENS_SAID",
    "SimulatedModel",
]

TOKENS_SAID = 64
"""What a model has to say, unless it is one that says as much as it may."""

LONG_TOKENS_DEFAULT = 1_024
"""What such a one says where nobody gave it a limit."""

OUTPUT_TOKENS_MAX = 65_536  # 20 minutes at 50 tokens/s, longer than any total timeout by default
CONTEXT_WINDOW = 262_144


class Content(StrEnum):
    """What an answer is made of."""

    WORDS = "words"
    MULTI_BYTE_WORDS = "multi_byte_words"
    TOOL_CALL = "tool_call"  # where there is a tool to call, and no result of one yet; else words
    REASONING = "reasoning"  # half of the tokens, then words
    REFUSAL = "refusal"


class Ending(StrEnum):
    """What happens after the last token."""

    FINISH = "finish"  # finish reason, usage, [DONE]
    ERROR_FRAME = "error_frame"  # an error in the stream, then its end
    SILENCE = "silence"  # nothing more, the connection stays open
    CLEAN_EOF = "clean_eof"  # the body ends properly, without finish reason and [DONE]
    RESET = "reset"  # the connection closes in mid-body
    HALF_FRAME = "half_frame"  # so it does, after half a frame


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """What one model does.

    Args:
        tokens_per_s: None is as fast as the connection takes them.
        tokens_said: of words; None is exactly as many as the request allows.
        tokens_max: the model ends after so many tokens, whatever it had to say.
        is_split: the body travels in segments that end in the middle of characters.
    """

    slug: str
    first_token_delay_s: float = 0.0
    tokens_per_s: float | None = None
    content: Content = Content.WORDS
    ending: Ending = Ending.FINISH
    tokens_said: int | None = TOKENS_SAID
    tokens_max: int | None = None
    tokens_per_frame: int = 1
    reports_usage: bool = True
    is_split: bool = False
    capabilities: tuple[str, ...] = ()


_steady = partial(SimulatedModel, tokens_per_s=50.0)
_usual = partial(_steady, first_token_delay_s=0.05)

MODELS: dict[str, SimulatedModel] = {
    model.slug: model
    for model in (
        _usual("sim"),
        SimulatedModel("sim-instant"),
        _usual("sim-slow", tokens_per_s=2.0),
        _usual("sim-long", tokens_said=None),
        SimulatedModel("sim-long-instant", tokens_said=None),
        _usual("sim-long-slow", tokens_per_s=2.0, tokens_said=None),
        _usual("sim-error", tokens_max=5, ending=Ending.ERROR_FRAME),
        _usual("sim-stall", tokens_max=5, ending=Ending.SILENCE),
        _steady("sim-multi", tokens_per_frame=4),
        _steady("sim-utf8", content=Content.MULTI_BYTE_WORDS, is_split=True),
        _steady("sim-long-utf8", content=Content.MULTI_BYTE_WORDS, tokens_said=None, is_split=True),
        _steady("sim-no-usage", reports_usage=False),
        _steady("sim-tools", content=Content.TOOL_CALL, capabilities=("tool_choice_required",)),
        _steady("sim-reasoning", content=Content.REASONING, capabilities=("reasoning_effort",)),
        _steady("sim-refusal", content=Content.REFUSAL),
    )
}

ALIASES: dict[str, str] = {"aurous-grow-2.0-pro": "sim", "ftg-3.0": "sim"}
