"""The clients: each starts one chat completion under a name of its own, and sees it through.

What a client does is its fate. All but one that leaves come back by cursor when their connection breaks,
and repeat a start that was not answered, as the official SDKs and agents do; so each has every frame once,
or the product lost something. A `Story` is what one of them saw.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import aiohttp

__all__ = ["BROKEN", "Client", "Fate", "Site", "Story", "Verdict"]

_QUIET_TIMEOUT_S = 15.0
"""Without a keep-alive for so long, the connection is taken for broken."""

_ANSWER_TIMEOUT_S = 40.0
_START_TIMEOUT_S = 90.0
"""How long a start, a cancel or a resumption is tried again."""

_PAUSE_S = 0.25
_LIFE_MAX_S = 150.0
"""Above what the longest stream takes; who has no end then waits in vain."""


class Fate(StrEnum):
    """What a client does."""

    READ = "read"
    SLOW = "slow"  # reads slower than the upstream speaks
    CUT = "cut"  # breaks its connection now and then, and comes back
    LEAVE = "leave"  # hangs up and never comes back
    CANCEL = "cancel"  # from another connection, to whichever address
    TWICE = "twice"  # the start is made a second time while the first one runs
    BROKEN = "broken"  # the upstream fails


class Verdict(StrEnum):
    """How the stream ended for its client."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    LEFT = "left"
    REFUSED = "refused"  # by an answer that says not to repeat it
    STUCK = "stuck"  # no end in time
    GONE = "gone"  # 404 for what it had read of


BROKEN = ("broken-error", "broken-reset", "broken-half-frame", "broken-garbage", "broken-stall")
_SHARES = {
    Fate.READ: 30,
    Fate.SLOW: 10,
    Fate.CUT: 20,
    Fate.LEAVE: 10,
    Fate.CANCEL: 15,
    Fate.TWICE: 5,
    Fate.BROKEN: 10,
}
"""Of a hundred clients."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where Midstream is: one address per node, and the team's key."""

    urls: tuple[str, ...]
    key: str = field(repr=False)


@dataclass(slots=True)
class Story:
    """What one client saw of its completion.

    `cursor` is the number of the last frame that it has; `away_s` the longest time in which it heard nothing,
    not even a keep-alive, which come every two seconds: so long it was not let back in.
    """

    wire_id: str
    fate: Fate
    model: str
    max_tokens: int
    began_s: float
    ended_s: float = 0.0
    cursor: int = -1
    texts: list[str] = field(default_factory=list)
    missed: int = 0
    repeated: int = 0
    heard_s: float | None = None
    away_s: float = 0.0
    is_over: bool = False
    finish: str = ""
    error: str = ""
    verdict: Verdict = Verdict.STUCK

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def take(self, number: int, data: str) -> None:
        """Take a frame; one that came before, or that has a gap before it, is counted."""
        if number <= self.cursor:
            self.repeated += 1
            return
        self.missed += number - self.cursor - 1
        self.cursor = number
        if data == "[DONE]":
            self._end(Verdict.CANCELLED if self.finish == "cancelled" else Verdict.COMPLETED)
            return
        frame = json.loads(data)
        if "error" in frame and not frame.get("choices"):
            self.error = str(frame["error"].get("code"))
            self._end(Verdict.FAILED)
            return
        for choice in frame.get("choices", ()):
            text = choice.get("delta", {}).get("content")
            if text:
                self.texts.append(text)
            self.finish = choice.get("finish_reason") or self.finish

    def heard(self) -> None:
        """Note that it is being answered."""
        now_s = time.monotonic()
        if self.heard_s is not None:
            self.away_s = max(self.away_s, now_s - self.heard_s)
        self.heard_s = now_s

    def refused(self, verdict: Verdict, error: str) -> None:
        self.error = error
        self._end(verdict)

    def _end(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.is_over = True


class _Again(Exception):
    """The connection broke, or the answer says to come back."""


class Client:
    """One client, drawn from the seed and its number.

    Args: http: its connections are never kept, as those of clients that are far apart.
    """

    def __init__(self, site: Site, http: aiohttp.ClientSession, seed: int, number: int) -> None:
        self._site = site
        self._http = http
        self._random = random.Random(f"{seed}/{number}")
        fate = self._random.choices([*_SHARES], [*_SHARES.values()])[0]
        model, max_tokens = self._asks(fate)
        self.story = Story(f"chaos-{seed}-{number}", fate, model, max_tokens, time.time())
        self.second: Story | None = None

    @property
    def stories(self) -> tuple[Story, ...]:
        return (self.story,) if self.second is None else (self.story, self.second)

    async def run(self) -> None:
        """See the stream through; the stories say how it went."""
        story = self.story
        try:
            async with asyncio.timeout(_LIFE_MAX_S):
                if story.fate is Fate.TWICE:
                    await self._twice()
                elif story.fate is Fate.CANCEL:
                    await self._and_cancel()
                else:
                    await self._read(story)
        except TimeoutError:
            pass  # The story stays STUCK.
        finally:
            for told in self.stories:
                told.ended_s = time.time()

    def _asks(self, fate: Fate) -> tuple[str, int]:
        if fate is Fate.BROKEN:
            return self._random.choice(BROKEN), 64
        if fate is Fate.SLOW:
            return "quick", self._random.randrange(100, 400)
        return "steady", self._random.randrange(20, 60)

    async def _twice(self) -> None:
        first = self.story
        self.second = Story(first.wire_id, first.fate, first.model, first.max_tokens, first.began_s)
        await asyncio.gather(self._read(first), self._read(self.second, self._random.random()))

    async def _and_cancel(self) -> None:
        reading = asyncio.ensure_future(self._read(self.story))
        try:
            await asyncio.wait({reading}, timeout=self._random.uniform(0.0, 8.0))
            if not reading.done():
                await self._cancel()
            await reading
        finally:
            reading.cancel()

    async def _cancel(self) -> None:
        """Ask until it is answered: 503 and a broken connection say nothing about the completion."""
        url = f"/v1/chat/completions/{self.story.wire_id}/cancel"
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline_s and not self.story.is_over:
            try:
                async with self._ask("POST", url) as answer:
                    # 404 is said while the start is on its way; 409 that it does not answer yet.
                    if answer.status == 200:
                        return
            except _Again:
                pass
            await asyncio.sleep(_PAUSE_S)

    async def _read(self, story: Story, after_s: float = 0.0) -> None:
        """Start it, and read it to its end on as many connections as that takes."""
        await asyncio.sleep(after_s)
        leaves_s = self._random.uniform(0.5, 10.0) if story.fate is Fate.LEAVE else None
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not story.is_over:
            frames = story.cursor
            try:
                async with asyncio.timeout(leaves_s or self._holds_s(story)):
                    await self._read_once(story)
            except TimeoutError:
                if leaves_s is not None:
                    story.refused(Verdict.LEFT, "")
                    return
                await asyncio.sleep(self._random.uniform(0.0, 3.0))
            except _Again:
                await asyncio.sleep(_PAUSE_S)
            if story.cursor > frames:
                deadline_s = time.monotonic() + _START_TIMEOUT_S
            elif time.monotonic() > deadline_s:
                return

    def _holds_s(self, story: Story) -> float | None:
        """Say how long this connection holds, None for as long as it may."""
        return self._random.uniform(0.3, 6.0) if story.fate is Fate.CUT else None

    async def _read_once(self, story: Story) -> None:
        path = "/v1/chat/completions"
        if story.cursor >= 0:
            path += f"/{story.wire_id}?stream=true&starting_after={story.cursor}"
            asked = self._ask("GET", path)
        else:
            asked = self._ask("POST", path, json=_body(story), headers=_headers(story))
        async with asked as answer:
            if answer.status != 200:
                await self._take_refusal(story, answer)
                return
            number = -1
            async for raw in _lines(answer):
                story.heard()
                if raw.startswith("id: "):
                    number = int(raw.removeprefix("id: "))
                elif raw.startswith("data: "):
                    story.take(number, raw.removeprefix("data: "))
                    if story.fate is Fate.SLOW:
                        await asyncio.sleep(self._random.uniform(0.02, 0.06))
        if not story.is_over:
            raise _Again

    async def _take_refusal(self, story: Story, answer: aiohttp.ClientResponse) -> None:
        body = await _json(answer)
        code = str((body.get("error") or {}).get("code"))
        if story.cursor >= 0 and answer.status == 404:
            story.refused(Verdict.GONE, code)
        elif answer.status < 429 or (story.cursor < 0 and _is_final(answer)):
            story.refused(Verdict.REFUSED, f"{answer.status} {code}")
        else:
            raise _Again

    @asynccontextmanager
    async def _ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Raises: _Again: there was no answer, or it broke."""
        url = self._random.choice(self._site.urls) + path
        headers = {"Authorization": f"Bearer {self._site.key}", **(headers or {})}
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_ANSWER_TIMEOUT_S, sock_read=_QUIET_TIMEOUT_S
        )
        try:
            async with self._http.request(
                method, url, headers=headers, timeout=timeout, **options
            ) as answer:
                yield answer
        except (aiohttp.ClientError, ConnectionError, aiohttp.ServerTimeoutError) as error:
            raise _Again from error


def _body(story: Story) -> dict[str, Any]:
    return {
        "model": story.model,
        "messages": [{"role": "user", "content": f"Name a lake, {story.wire_id}."}],
        "max_tokens": story.max_tokens,
        "stream": True,
    }


def _headers(story: Story) -> dict[str, str]:
    policy = "continue" if story.fate is Fate.CUT else "cancel"
    return {"Midstream-Completion-Id": story.wire_id, "Midstream-On-Disconnect": policy}


def _is_final(answer: aiohttp.ClientResponse) -> bool:
    """Whether a start is not to be repeated. What only reads may be, whatever is said of it."""
    return answer.headers.get("x-should-retry") == "false"


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for raw in answer.content:
        yield raw.decode().rstrip("\n")


async def _json(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        body = json.loads(await answer.read())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
