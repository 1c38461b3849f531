"""One run: an instance, streams that never grow fewer, faults, and what was true in the end."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.benchmarks.process_group import Marked, Role
from tests.benchmarks.upstream import running_upstream
from tests.chaos.faults import FAULTS, Fault, Happening, Mischief
from tests.chaos.streams import Client, Site, Story
from tests.chaos.witness import Finding, Truth, find, gather
from tests.support.instance import ADMIN_KEY, Instance

__all__ = ["Options", "Outcome", "run"]

_MARK = "CHAOS_MARK"
_PROVIDERS = """\
simulator: false
providers: {{upstream: {{base_url: "{upstream}/v1"}}}}
models:
"""
_MODELS = {
    "steady": "sim-long-slow",
    "quick": "sim-long",
    "instant": "sim-instant",
    "broken-error": "sim-error",
    "broken-reset": "sim-reset",
    "broken-half-frame": "sim-half-frame",
    "broken-garbage": "sim-garbage",
    "broken-stall": "sim-stall",
}
"""Names of ours, and what the upstream has under them."""

_MODEL = "  {name}: {{provider: upstream, upstream_model: {model}, tokenizer_is_exact: true}}\n"
_SETTINGS = {
    "keep_alive_s": 2.0,
    "idle_timeout_s": 10.0,
    "first_token_timeout_s": 20.0,
    "replicas_per_node": 2,
}
_CREDITS = 1_000_000.0
_CANARY_TIMEOUT_S = 5.0
_STEP_S = 0.2
_SAMPLE_S = 15.0
_ENDING_S = 180.0
"""After the last fault, what still runs must come to its end within that."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is run. `streams` are live at every moment; `database` is a URL, "" for SQLite."""

    seconds: float
    seed: int
    streams: int = 200
    pause_s: float = 4.0
    faults: tuple[Fault, ...] = FAULTS
    database: str = ""


@dataclass(slots=True)
class Sample:
    """What the instance's processes had at one moment."""

    at_s: float
    bytes: int
    descriptors: int


@dataclass(slots=True)
class Outcome:
    options: Options
    stories: list[Story] = field(default_factory=list)
    happened: list[Happening] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    live_min: int = 0
    exit_code: int | None = None

    @property
    def is_well(self) -> bool:
        recovered = all(h.recovered_s is not None for h in self.happened)
        return bool(self.happened) and recovered and not self.findings and self.exit_code == 0


def run(options: Options) -> Outcome:
    outcome = Outcome(options)
    with _site(options) as (instance, site, upstream):
        truth = asyncio.run(_under_load(options, outcome, instance, site, upstream))
        outcome.findings = list(find(outcome.stories, truth))
        outcome.exit_code = instance.down()
    return outcome


@contextmanager
def _site(options: Options) -> Iterator[tuple[Instance, Site, str]]:
    """Start the upstream and the instance; all is gone afterwards, the log of a failed run is shown."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        with running_upstream() as upstream:
            config = folder / "midstream.yaml"
            config.write_text(
                _PROVIDERS.format(upstream=upstream)
                + "".join(_MODEL.format(name=name, model=model) for name, model in _MODELS.items())
            )
            settings: dict[str, object] = {**_SETTINGS, "config": str(config)}
            if options.database:
                settings["database"] = options.database
            instance = Instance(folder, settings=settings)
            instance.environment[_MARK] = folder.name
            instance.up()
            try:
                key = instance.new_team("chaos", credits=_CREDITS)
                yield instance, Site((instance.url,), key), upstream
            except BaseException:
                print(instance.tail(), file=sys.stderr)
                raise
            finally:
                instance.down()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _under_load(
    options: Options, outcome: Outcome, instance: Instance, site: Site, upstream: str
) -> Truth:
    assert instance.process is not None
    group = Marked(instance.process.pid, f"{_MARK}={instance.log.parent.name}")
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as http:
        mischief = Mischief(
            group,
            lambda: _is_well(http, site),
            seed=options.seed,
            faults=options.faults,
            pause_s=options.pause_s,
        )
        load = _Load(options, http, site)
        loading = asyncio.ensure_future(load.run())
        sampling = asyncio.ensure_future(_sample(group, outcome.samples))
        try:
            await load.is_full.wait()
            await mischief.run(time.monotonic() + options.seconds)
            load.stop()
            outcome.live_min = load.live_min
            await asyncio.wait_for(loading, _ENDING_S)
        finally:
            for task in (loading, sampling):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            outcome.stories = [story for client in load.clients for story in client.stories]
            outcome.happened = mischief.happened
    wire_ids = [client.story.wire_id for client in load.clients]
    return await gather(site, ADMIN_KEY, upstream, wire_ids)


class _Load:
    """Keeps so many clients alive until it is stopped; then those that there are come to their ends."""

    def __init__(self, options: Options, http: aiohttp.ClientSession, site: Site) -> None:
        self._options = options
        self._http = http
        self._site = site
        self.clients: list[Client] = []
        self._running: set[asyncio.Task[None]] = set()
        self._is_stopped = False
        self.is_full = asyncio.Event()
        self.live_min = options.streams

    async def run(self) -> None:
        while not self._is_stopped:
            if self.is_full.is_set():
                self.live_min = min(self.live_min, len(self._running))
            # A few at a time: a burst is another test's subject.
            for _ in range(min(10, self._options.streams - len(self._running))):
                self._begin()
            if len(self._running) >= self._options.streams:
                self.is_full.set()
            await asyncio.sleep(_STEP_S)
        if self._running:
            await asyncio.wait(self._running)

    def stop(self) -> None:
        self._is_stopped = True

    def _begin(self) -> None:
        client = Client(self._site, self._http, self._options.seed, len(self.clients))
        self.clients.append(client)
        task = asyncio.ensure_future(client.run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)


async def _is_well(http: aiohttp.ClientSession, site: Site) -> bool:
    """Whether every address answers a small completion."""
    body = {
        "model": "instant",
        "messages": [{"role": "user", "content": "Name a lake."}],
        "max_tokens": 2,
    }
    headers = {"Authorization": f"Bearer {site.key}"}
    timeout = aiohttp.ClientTimeout(total=_CANARY_TIMEOUT_S)
    for url in site.urls:
        try:
            async with http.post(
                f"{url}/v1/chat/completions", json=body, headers=headers, timeout=timeout
            ) as answer:
                if answer.status != 200:
                    return False
        except (aiohttp.ClientError, TimeoutError):
            return False
    return True


async def _sample(group: Marked, samples: list[Sample]) -> None:
    while True:
        memory = await asyncio.to_thread(group.pss_bytes)
        descriptors = await asyncio.to_thread(group.descriptors)
        samples.append(Sample(time.monotonic(), _total(memory), _total(descriptors)))
        await asyncio.sleep(_SAMPLE_S)


def _total(by_role: dict[Role, int]) -> int:
    return sum(by_role.values())
