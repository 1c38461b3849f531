"""Many live streams at once, and the account that they are charged to.

Each stream has a prompt of its own, and so an answer of its own: a reader that is given another
stream's words cannot take them for its own.
"""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Iterable
from typing import Any

import aiohttp

from tests.benchmarks.raw_stream import RawStream, open_raw
from tests.support.instance import Instance

__all__ = ["CHAT", "Fleet", "ensure_descriptors", "session"]

CHAT = "/v1/chat/completions"

_OPENING_MAX = 32
_BEGIN_TIMEOUT_S = 150.0
_END_TIMEOUT_S = 60.0
_CALLS_MAX = 16
_HAD_ENDED = "chat_cancel_target_already_terminal"
_SPARE_DESCRIPTORS = 1_024
_CREDITS = 1_000_000.0


class Fleet:
    """The live streams of a benchmark, which are opened, counted and ended here.

    Args:
        url: of the deployment.
        key: whose account pays.
    """

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self.streams: list[RawStream] = []
        self._opening = asyncio.Semaphore(_OPENING_MAX)
        self._numbers = 0

    @classmethod
    def of(cls, instance: Instance, team: str) -> Fleet:
        """Make a team that can pay for all of it, and a fleet of its streams."""
        return cls(instance.url, instance.new_team(team, "org_scale", _CREDITS))

    @property
    def live(self) -> list[RawStream]:
        return [stream for stream in self.streams if stream.is_live]

    @property
    def words(self) -> int:
        return sum(len(stream.words) for stream in self.streams)

    async def open(
        self,
        count: int,
        *,
        model: str = "sim-long-slow",
        max_tokens: int = 8_000,
        over_s: float = 0.0,
        pause_s: float = 0.0,
    ) -> list[RawStream]:
        """Open so many more, evenly over that time; return when each has its first word.

        Raises: SystemExit: one of them did not begin; the sentence says why.
        """
        start_s = time.monotonic()

        async def one(number: int) -> RawStream:
            await asyncio.sleep(start_s + over_s * number / count - time.monotonic())
            async with self._opening:
                return await self._begin(model, max_tokens, pause_s)

        opened = await asyncio.gather(*(one(number) for number in range(count)))
        failed = [stream for stream in opened if stream.error or not stream.words]
        if failed:
            why = failed[0].error or "no word came"
            raise SystemExit(f"{len(failed)} of {count} streams did not begin; the first: {why}")
        return opened

    async def observe(self, stream: RawStream, count: int) -> list[RawStream]:
        """Attach so many more readers to a stream, each from its first word."""
        url = f"{self.url}{CHAT}/{stream.completion_id}?stream=true"

        async def one() -> RawStream:
            async with self._opening:
                reader = await open_raw(url, None, key=self.key)
                await asyncio.wait_for(asyncio.shield(reader.has_begun), _BEGIN_TIMEOUT_S)
            return reader

        return await asyncio.gather(*(one() for _ in range(count)))

    async def cancel(self, streams: Iterable[RawStream]) -> None:
        """Cancel these, and wait until each reader has been told.

        Raises: SystemExit: a cancel was refused.
        """
        calls = asyncio.Semaphore(_CALLS_MAX)
        async with session(self.key) as http:

            async def one(stream: RawStream) -> None:
                async with calls:
                    await self.cancel_one(http, stream)
                await asyncio.wait_for(asyncio.shield(stream.has_ended), _END_TIMEOUT_S)

            await asyncio.gather(*(one(stream) for stream in streams))

    async def cancel_one(self, http: aiohttp.ClientSession, stream: RawStream) -> bool:
        """Return when the cancel is answered: whether it came before the end.

        The reader may not have been told of the end yet; what it is told is judged like any other.

        Raises: SystemExit: it was refused.
        """
        async with http.post(f"{self.url}{CHAT}/{stream.completion_id}/cancel") as answer:
            said = await answer.text()
        if answer.status == 409 and json.loads(said)["error"]["code"] == _HAD_ENDED:
            return False
        if answer.status != 200:
            raise SystemExit(f"a cancel answered {answer.status}: {said}")
        return True

    async def end(self) -> None:
        """Cancel whatever is live."""
        await self.cancel(self.live)

    async def _begin(self, model: str, max_tokens: int, pause_s: float) -> RawStream:
        self._numbers += 1
        words = f"Name a lake, reader {self._numbers}."
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": words}],
            "max_tokens": max_tokens,
        }
        stream = await open_raw(f"{self.url}{CHAT}", body, key=self.key, pause_s=pause_s)
        self.streams.append(stream)
        await asyncio.wait_for(asyncio.shield(stream.has_begun), _BEGIN_TIMEOUT_S)
        return stream


def session(key: str) -> aiohttp.ClientSession:
    """Return a session of kept connections that asks with that key."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_read=_BEGIN_TIMEOUT_S),
        headers={"Authorization": f"Bearer {key}"},
    )


def ensure_descriptors(streams: int) -> None:
    """Raise this process's limit of open files to what they need; its children inherit it.

    Raises: SystemExit: it may not be raised so far.
    """
    # The proxy has two connections for each.
    needed = 2 * streams + _SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(
            f"{streams:,} streams need {needed:,} open files per process, and the limit is"
            f" {hard:,}: raise it with `ulimit -Hn {needed}` as root, or ask for fewer streams."
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
