"""A second reader of a stream: attaches to a completion by its id, from its first frame."""

from __future__ import annotations

import json
import threading

import httpx

from tests.support.instance import DEMO_KEY, wait_until

__all__ = ["Follower"]


class Follower:
    """Reads in a thread, until the end of the stream.

    Args:
        url: of the completion.
    """

    def __init__(self, url: str) -> None:
        self.texts: list[str] = []
        self.headers = httpx.Headers()
        self.has_done = False
        self.error: httpx.HTTPError | None = None
        self._url = url
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_until(lambda: self.texts or not self._thread.is_alive(), f"{url} is attached to")

    def join(self, timeout_s: float = 60.0) -> None:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"it did not end; {len(self.texts)} tokens"

    def _read(self) -> None:
        headers = {"Authorization": f"Bearer {DEMO_KEY}"}
        try:
            with (
                httpx.Client(timeout=120.0, trust_env=False) as client,
                client.stream("GET", f"{self._url}?stream=true", headers=headers) as answer,
            ):
                self.headers = answer.headers
                for line in answer.iter_lines():
                    self._take(line)
        except httpx.HTTPError as error:
            self.error = error

    def _take(self, line: str) -> None:
        if line == "data: [DONE]":
            self.has_done = True
        elif line.startswith("data: "):
            for choice in json.loads(line.removeprefix("data: ")).get("choices", ()):
                if text := choice["delta"].get("content"):
                    self.texts.append(text)
