"""By what a case is played: the first word of its file's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from tests.corpus import requests, streams, timeouts, transport
from tests.corpus.cases import Case, Wrong

__all__ = ["PLAYERS", "fault"]

PLAYERS: Mapping[str, tuple[Callable[[dict[str, Any]], None], ...]] = MappingProxyType(
    {
        "streams": (streams.play, streams.play_cuts),
        "requests": (requests.play,),
        "timeouts": (timeouts.play,),
        "transport": (transport.play,),
    }
)
"""What each case goes through; a new kind of case is a module here and a row."""


def fault(case: Case) -> str | None:
    """Return what is wrong with what comes of a case, None where nothing is."""
    try:
        for play in PLAYERS[case.played]:
            play(case.value)
    except Wrong as error:
        return str(error)
    except Exception as error:  # An exception is a fault of the case's, not the end of the run.
        return f"{type(error).__name__}: {error}"
    return None
