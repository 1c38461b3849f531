"""What the operator sees while it runs: one line that changes, on standard error.

Rates are between two looks. Without a terminal nothing moves, and the sentences alone are printed.
"""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from actors.loadtest.worker import WorkerProgress

__all__ = ["LiveProgress"]


class LiveProgress:
    """Implements `load_test.Observer`; a context manager, so that the line is left in order.

    Args: console: where to; standard error where it is not said.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._last = WorkerProgress()

    def __enter__(self) -> LiveProgress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def say(self, sentence: str) -> None:
        self._console.print(sentence, markup=False, emoji=False, soft_wrap=True)

    def show(self, level: float, progress: WorkerProgress) -> None:
        if self._console.is_terminal:
            self._live.update(self._line(level, progress))
        self._last = progress

    def _line(self, level: float, now: WorkerProgress) -> Text:
        since = self._last if self._last.seconds < now.seconds else WorkerProgress()
        elapsed_s = max(now.seconds - since.seconds, 1e-3)
        rate = max(0.0, (now.tokens - since.tokens) / elapsed_s)
        line = Text(f"level {level:g}  {now.seconds:5.1f} s  ", style="dim")
        line.append(f"{now.live:,} streams", style="bold")
        line.append(f"  {now.ended:,} ended  {rate:,.0f} tokens/s  ", style="default")
        line.append(f"first token {now.ttft_p50_ms:,.1f} ms  ", style="default")
        line.append(f"{now.errors:,} errors", style="bold red" if now.errors else "dim")
        return line
