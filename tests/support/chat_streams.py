"""Read chat streams as a client does: on a connection of its own, frame by frame.

`ChatStream` reads in a thread, so a test can cancel from another connection meanwhile and then look
at every byte that came.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.instance import DEMO_KEY, Instance, wait_until


def body(model: str = "sim", *, max_tokens: int = 64, **members: Any) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": "Name a lake."}],
        "max_tokens": max_tokens,
        **members,
    }


@dataclass
class ChatStream:
    """One streaming request; `close` hangs up."""

    url: str
    request: dict[str, Any]
    key: str = DEMO_KEY
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    answer_headers: httpx.Headers = field(default_factory=httpx.Headers)
    frames: list[dict[str, Any]] = field(default_factory=list)
    raw: bytes = b""
    has_done: bool = False
    error: BaseException | None = None

    def open(self) -> ChatStream:
        self._closing = threading.Event()
        self._client = httpx.Client(timeout=120.0, trust_env=False)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def join(self, timeout_s: float = 60.0) -> ChatStream:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"the stream did not end; {len(self.frames)} frames"
        return self

    def close(self) -> None:
        """Hang up in mid-stream."""
        self._closing.set()
        self._thread.join(20)

    def wait_for_tokens(self, count: int, timeout_s: float = 60.0) -> ChatStream:
        wait_until(
            lambda: len(self.tokens) >= count or not self._thread.is_alive(),
            f"{count} tokens",
            timeout_s,
        )
        assert len(self.tokens) >= count, (self.status, self.raw[-500:], self.error)
        return self

    @property
    def completion_id(self) -> str:
        return self.answer_headers["midstream-completion-id"]

    @property
    def tokens(self) -> list[str]:
        """The text deltas, as they came."""
        texts = []
        for frame in self.frames:
            for choice in frame.get("choices", []):
                text = choice.get("delta", {}).get("content")
                if text:
                    texts.append(text)
        return texts

    @property
    def last(self) -> dict[str, Any]:
        return self.frames[-1]

    def _read(self) -> None:
        try:
            with self._client.stream(
                "POST",
                f"{self.url}/v1/chat/completions",
                json={**self.request, "stream": True},
                headers={"Authorization": f"Bearer {self.key}", **self.headers},
            ) as answer:
                self.status, self.answer_headers = answer.status_code, answer.headers
                for line in answer.iter_lines():
                    self._take(line)
                    if self._closing.is_set():
                        return
        except (httpx.HTTPError, httpx.StreamError) as error:
            self.error = error
        finally:
            self._client.close()

    def _take(self, line: str) -> None:
        self.raw += line.encode() + b"\n"
        if not line.startswith("data: "):
            return
        data = line.removeprefix("data: ")
        if data == "[DONE]":
            self.has_done = True
        else:
            self.frames.append(json.loads(data))


def stream(instance: Instance, model: str = "sim", **members: Any) -> ChatStream:
    """Open a stream on the instance; `key=` and `headers=` are the connection's."""
    options = {name: members.pop(name) for name in ("key", "headers") if name in members}
    return ChatStream(instance.url, body(model, **members), **options).open()


def credits_of(prompt: int, tokens: int) -> float:
    """The exact charge at 75 in and 450 out, in credits."""
    return (75 * prompt + 450 * tokens) / 1e6
