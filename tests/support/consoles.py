"""Consoles that print what they are given: no brackets are styles, and no `:name:` is a picture."""

from __future__ import annotations

from rich.console import Console

__all__ = ["plain_console"]


def plain_console(*, width: int | None = None, is_error: bool = False) -> Console:
    """Return one for what others wrote: a party's error must not end the run that prints it."""
    return Console(width=width, stderr=is_error, markup=False, emoji=False, highlight=False)
