"""One run: an instance, streams that never grow fewer, strikes, and what was true in the end."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import httpx

from tests.benchmarks.process_group import Marked, ProcessGroup, Role
from tests.benchmarks.upstream import running_upstream
from tests.chaos.faults import ROLES, Happening, Mischief, Processes, Target
from tests.chaos.hosts import Cable, Machine, launched, three_hosts
from tests.chaos.streams import Client, Site, Story
from tests.chaos.witness import READER_GRACE_S, Finding, Truth, find, gather
from tests.support.instance import ADMIN_KEY, Instance

__all__ = ["Options", "Outcome", "run"]

_MARK = "CHAOS_MARK"
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

_SETTINGS = {
    "keep_alive_s": 2.0,
    "idle_timeout_s": 30.0,  # Longer than a cable is pulled: that is no fault of the upstream's.
    "first_token_timeout_s": 20.0,
    "replicas_per_node": 2,
    "reader_grace_s": READER_GRACE_S,
}
_CREDITS = 1_000_000.0
_CANARY_TIMEOUT_S = 5.0
_STEP_S = 0.2
_SAMPLE_S = 15.0
_ENDING_S = 180.0
"""After the last strike, what still runs must come to its end within that."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is run: `streams` live at every moment, `at_once` strikes at the most.

    `database` is a URL, "" for SQLite; `only` are the names of the targets that are struck, all of them if
    it is empty.
    """

    seconds: float
    seed: int
    streams: int = 200
    pause_s: float = 4.0
    at_once: int = 16
    nodes: int = 1
    database: str = ""
    only: tuple[str, ...] = ()


@dataclass(slots=True)
class Sample:
    """What the instance's processes had at one moment."""

    at_s: float
    bytes: int
    descriptors: int


@dataclass(slots=True)
class Outcome:
    options: Options
    faults: tuple[str, ...] = ()
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


@dataclass(frozen=True, slots=True)
class _Ground:
    """What a run happens on.

    `reachable` are the addresses that answer at the moment, if all is well; `down` takes it down and returns
    the exit code of that.
    """

    site: Site
    reachable: Callable[[], Sequence[str]]
    upstream: str
    group: ProcessGroup
    targets: Sequence[Target]
    down: Callable[[], int | None]


def run(options: Options) -> Outcome:
    outcome = Outcome(options)
    with _private(options) if options.nodes == 1 else _cluster(options) as ground:
        truth = asyncio.run(_under_load(outcome, ground))
        outcome.findings = list(find(outcome.stories, truth))
        outcome.exit_code = ground.down()
    return outcome


@contextmanager
def _private(options: Options) -> Iterator[_Ground]:
    """An instance with a Ray of its own; the log of a run that broke is shown."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        with running_upstream() as upstream:
            instance = Instance(folder, settings=_settings(options, folder, upstream))
            instance.environment[_MARK] = folder.name
            instance.up()
            try:
                assert instance.process is not None
                group = Marked(instance.process.pid, f"{_MARK}={folder.name}")
                site = Site((instance.url,), _new_team(instance.url))
                targets = [Processes(role, group) for role in ROLES]
                yield _Ground(site, lambda: site.urls, upstream, group, targets, instance.down)
            except BaseException:
                print(instance.tail(), file=sys.stderr)
                raise
            finally:
                instance.down()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _cluster(options: Options) -> Iterator[_Ground]:
    """Three hosts; besides processes, cables are pulled and workers lose their power."""
    with three_hosts() as (folder, network), running_upstream(network.machine) as upstream:
        settings = _settings(options, folder, upstream)
        variables = {f"MIDSTREAM_{name.upper()}": str(value) for name, value in settings.items()}
        hosts = launched(folder, network, variables)
        head, *workers = network.hosts
        targets: list[Target] = [Processes(role, hosts.group) for role in ROLES]
        targets += [Machine(hosts), Cable("worker", hosts, workers), Cable("head", hosts, [head])]
        site = Site(hosts.urls, _new_team(hosts.urls[0]))
        yield _Ground(site, hosts.reachable, upstream, hosts.group, targets, hosts.down)


def _settings(options: Options, folder: Path, upstream: str) -> Mapping[str, object]:
    """Return the settings; the configuration that they name is written."""
    config = folder / "midstream.yaml"
    models = "".join(
        f"  {name}: {{provider: upstream, upstream_model: {model}, tokenizer_is_exact: true}}\n"
        for name, model in _MODELS.items()
    )
    config.write_text(
        "simulator: false\n"
        f'providers: {{upstream: {{base_url: "{upstream}/v1"}}}}\n'
        f"models:\n{models}"
    )
    settings: dict[str, object] = {**_SETTINGS, "config": str(config)}
    return settings | ({"database": options.database} if options.database else {})


def _new_team(url: str) -> str:
    """Make the team whose streams these are; return its key."""
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60.0, trust_env=False) as admin:
        body = {"team": "chaos", "organization": "org_tests", "credits": _CREDITS}
        admin.post("/admin/v1/teams", json=body).raise_for_status()
        made = admin.post("/admin/v1/teams/chaos/keys", json={}).raise_for_status()
        return str(made.json()["key"])


async def _under_load(outcome: Outcome, ground: _Ground) -> Truth:
    options, site = outcome.options, ground.site
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as http:
        targets = [t for t in ground.targets if not options.only or t.name in options.only]
        mischief = Mischief(
            targets,
            lambda: _is_well(http, ground.reachable(), site.key),
            seed=options.seed,
            pause_s=options.pause_s,
            at_once=options.at_once,
        )
        outcome.faults = mischief.faults
        load = _Load(options, http, site)
        loading = asyncio.ensure_future(load.run())
        sampling = asyncio.ensure_future(_sample(ground.group, outcome.samples))
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
    return await gather(site, ADMIN_KEY, ground.upstream, wire_ids)


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


async def _is_well(http: aiohttp.ClientSession, urls: Sequence[str], key: str) -> bool:
    """Whether each address answers a small completion."""
    body = {
        "model": "instant",
        "messages": [{"role": "user", "content": "Name a lake."}],
        "max_tokens": 2,
    }
    headers = {"Authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=_CANARY_TIMEOUT_S)
    for url in urls:
        try:
            async with http.post(
                f"{url}/v1/chat/completions", json=body, headers=headers, timeout=timeout
            ) as answer:
                if answer.status != 200:
                    return False
        except (aiohttp.ClientError, TimeoutError):
            return False
    return True


async def _sample(group: ProcessGroup, samples: list[Sample]) -> None:
    while True:
        memory = await asyncio.to_thread(group.pss_bytes)
        descriptors = await asyncio.to_thread(group.descriptors)
        samples.append(Sample(time.monotonic(), _total(memory), _total(descriptors)))
        await asyncio.sleep(_SAMPLE_S)


def _total(by_role: dict[Role, int]) -> int:
    return sum(by_role.values())
