"""One running instance of a data directory: what is started in which order, and stopped in reverse.

    start   lock -> leftovers of a killed instance -> checks -> Ray -> actors, Serve -> application
            -> a first request that succeeds through the proxy
    stop    completions (drained: they end, or are cancelled, and settled) -> Serve -> actors -> Ray
            -> whatever is left

Meanwhile it watches what it runs on: see `supervision`. Where that is gone nothing of it can be asked any
more, so whatever is left is ended at once.

The first signal stops it in this order, from wherever it is. A second one cuts the drain short: what
still runs is cancelled; without a drain, and with a third one, everything is killed. A private Ray
belongs to the instance and ends with it. Of a cluster that was joined, only what the instance put there
is taken away, which no signal cuts short: it would stay. Serve's and Ray's own calls wait without a limit
where their processes are gone, so a stop that is not done `STOP_MARGIN_S` after the drain is ended too.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from actors.cluster.free_port import free_port
from actors.settings import JOINED_DRAIN_TIMEOUT_S, Settings
from actors.upstream.catalogue import Catalogue
from actors.upstream.config import Config
from serve_app.instance.data_directory import HAPROXY_FOLDER, DataDirectory, InstanceNote, Keys
from serve_app.instance.environment import private_ray_environment, serve_environment
from serve_app.instance.haproxy import write_launcher
from serve_app.instance.haproxy_stand_in import start_stand_in
from serve_app.instance.preflight import (
    check_no_other_ray,
    check_ports,
    check_shared_memory,
    check_store,
)
from serve_app.instance.processes import descendants, identify
from serve_app.instance.reaper import Reaper
from serve_app.instance.start_limit import StartLimit
from serve_app.instance.supervision import RuntimeLost
from serve_app.instance.watching import Again, Watch

if TYPE_CHECKING:
    from serve_app.instance.stack import Stack

__all__ = ["STOP_MARGIN_S", "Instance", "InstancePlan", "Ready"]

_log = logging.getLogger(__name__)

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

STOP_MARGIN_S = 16.0
"""What Serve, the actors and Ray may take after the drain. `down` waits a little longer."""

_POLL_S = 0.1
_WATCH_S = 0.25
"""How often what the instance runs on is looked at."""

_FOLLOW_S = 2.0
"""How often the number of nodes is looked at."""


class _Stop(BaseException):
    """A signal came: leave what you are at. Not an Exception, so that nothing on the way takes it."""


@dataclass(frozen=True, slots=True)
class InstancePlan:
    """What to run. `address` is of the cluster to join, "" starts a private Ray."""

    settings: Settings
    config: Config
    address: str = ""
    is_verbose: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """What there is to tell when the first request has succeeded."""

    url: str
    keys: Keys
    settings: Settings


class Instance:
    """Runs once: make it, call `run`.

    Args:
        on_step: is told what the start is waiting for now, and after how many seconds.
    """

    def __init__(
        self,
        plan: InstancePlan,
        directory: DataDirectory,
        environment: Mapping[str, str],
        *,
        on_step: Callable[[float, str], None] = lambda _seconds, _step: None,
    ) -> None:
        self._on_step = on_step
        self._directory = directory
        self._environment = environment
        self._cluster = directory.cluster()
        self._keys = directory.keys(environment)
        self._plan = replace(
            plan,
            settings=_drain_of(plan, environment).with_changes(
                data_dir=str(directory.path), admin_key_digest=Keys.digest(self._keys.admin)
            ),
        )
        self._signals = _Signals(self._hurry)
        self._is_hurried = self._is_lost = False
        self._launcher: Path | None = None
        self._stand_in: subprocess.Popen[bytes] | None = None
        self._note = _first_note(self._plan)
        self._reaper: Reaper | None = None
        self._stack: Stack | None = None
        self._begun_s = time.monotonic()

    def run(self, on_ready: Callable[[Ready], None]) -> None:
        """Start, say so, and stay until a signal; everything is stopped when this returns or raises.

        The caller holds the directory's lock, and this process has one thread.

        Raises: InstanceError: it cannot start. ConfigError: the configuration cannot be used.
        """
        self._signals.install()
        try:
            self._check()
            on_ready(self._start())
            self._watch()
        except (_Stop, SystemExit):
            # While Ray starts, SIGTERM is answered by its own handler, which exits.
            pass
        except Exception:
            # Ray's extension turns what a handler raises into other exceptions.
            if not self._signals.has_come:
                raise
        finally:
            self._stop()

    @property
    def _keep(self) -> str:
        """What of the runtime's directory is the cluster's, not this instance's."""
        return HAPROXY_FOLDER if self._plan.address else ""

    def _check(self) -> None:
        settings, config = self._plan.settings, self._plan.config
        killed = self._directory.read_note()
        if killed is not None:
            killed.end_leftovers()
        Catalogue(config, simulator_url="http://127.0.0.1:1" if config.simulator else None)
        if not self._plan.address:
            check_no_other_ray(self._environment)
            check_shared_memory(settings)
        check_ports(settings)
        if not self._plan.address:
            check_store(settings, self._cluster)

    def _start(self) -> Ready:
        plan, keys = self._plan, self._keys
        provider_keys = _take_secrets(plan.config)
        runtime_path = self._directory.runtime_path(keep=self._keep)
        self._directory.write_note(self._note)
        self._reaper = Reaper.start(self._sweep)
        if plan.address:
            os.environ.update(serve_environment(plan.settings))
        else:
            os.environ.pop("RAY_AUTH_TOKEN", None)
            self._launcher = write_launcher(self._directory.path)
            os.environ.update(
                private_ray_environment(
                    plan.settings,
                    mark=self._note.mark,
                    runtime_path=runtime_path,
                    token_path=self._directory.ray_token_path(),
                    fallback_port=free_port("0.0.0.0"),
                    haproxy_path=self._launcher,
                )
            )
        # Ray and Serve read their variables when they are imported.
        from serve_app.instance.stack import Stack

        self._stack = Stack(plan.settings, address=plan.address, is_verbose=plan.is_verbose)
        limit = StartLimit(plan.settings.start_timeout_s, tell=self._tell)
        self._bring_up(self._stack, runtime_path / "ray", provider_keys, limit)
        self._first_request(limit)
        self._directory.note_store(plan.settings.database)
        return Ready(self._note.url, keys, plan.settings)

    def _bring_up(
        self, stack: Stack, sessions: Path, provider_keys: Mapping[str, str], limit: StartLimit
    ) -> None:
        address = self._plan.address
        demo_key_digest = Keys.digest(self._keys.demo)

        def connect() -> None:
            stack.connect(sessions)
            self._signals.install()  # Ray has put its own handler for SIGTERM
            self._note_descendants()

        def end_ray() -> None:
            # The processes of a node that came up in part are known to nobody but us.
            self._note_descendants()
            stack.disconnect()
            self._note.end_leftovers()

        def start_services() -> None:
            if not stack.is_connected:
                connect()
            stack.start_services(
                self._plan.config,
                demo_key_digest,
                provider_keys,
                cluster=self._cluster.name,
                is_store_known=self._cluster.knows_store(self._plan.settings.database),
                timeout_s=limit.left_s,
            )

        what = f"joining the cluster at {address}" if address else "starting Ray"
        limit.attempt(what, connect, clean_up=end_ray)
        # What stands of a failed try is kept in another's Ray; ours is ended, and Serve's HAProxy with it.
        limit.attempt(
            "starting the ledger, the registry and Ray Serve",
            start_services,
            clean_up=stack.end_dead_controller if address else end_ray,
        )
        limit.attempt(
            "starting the replicas",
            lambda: stack.start_replicas(timeout_s=limit.left_s),
            clean_up=lambda: None,
        )

    def _first_request(self, limit: StartLimit) -> None:
        """Ask as a client would, until the proxy, a replica and the ledger answer."""
        waiting = "waiting for the first request"
        self._tell(waiting)
        headers = {"Authorization": f"Bearer {self._keys.demo}"}
        with httpx.Client(base_url=self._note.url, headers=headers, trust_env=False) as client:
            while not all(_is_ok(client, path) for path in ("/readyz", "/v1/models")):
                self._signals.check()
                if not limit.left_s:
                    raise limit.exceeded(waiting, f"see {self._directory.log_path}")
                time.sleep(_POLL_S)

    def _watch(self) -> None:
        assert self._stack is not None, "it was started"
        watch = Watch(
            self._stack.parts(), is_private=not self._plan.address, bring_back=self._put_stand_in
        )
        following = Again(self._stack.follow_nodes, every_s=_FOLLOW_S)
        try:
            while True:
                self._signals.check()
                time.sleep(_WATCH_S)
                watch.look()
        except RuntimeLost as lost:
            self._is_lost = True
            _log.error("%s", lost)
            raise
        finally:
            if not self._is_lost:
                following.close()

    def _put_stand_in(self) -> None:
        if self._launcher is not None:
            self._stand_in = start_stand_in(self._launcher, self._directory.haproxy_path())

    def _stop(self) -> None:
        _log.info("stopping")
        limit_s = self._plan.settings.drain_timeout_s + STOP_MARGIN_S
        limit = threading.Timer(limit_s, self._give_up, (limit_s,))
        limit.daemon = True
        limit.start()
        try:
            self._note_descendants()
            if self._stack is not None and not self._is_lost:
                if self._stack.is_serving:
                    timeout_s = self._plan.settings.drain_timeout_s
                    self._say(f"what runs may end, for {timeout_s:g} s; another signal cancels it")
                self._stack.stop(is_hurried=lambda: self._is_hurried)
        finally:
            limit.cancel()
            self._signals.ignore()
            self._note.end_leftovers()
            self._clear()

    def _hurry(self) -> None:
        """Called by each signal after the first, on top of whatever the stop waits for."""
        serves = self._stack is not None and (self._stack.is_serving or self._stack.is_draining)
        if serves and not self._is_hurried:
            self._is_hurried = True
        elif not self._plan.address:
            self._end_at_once()

    def _give_up(self, limit_s: float) -> None:
        """Called in a thread of its own, by a stop of which one step has not come back."""
        _log.warning("it has not stopped in order within %g s", limit_s)
        self._end_at_once(exit_code=1 if self._plan.address else 0)

    def _end_at_once(self, exit_code: int = 0) -> None:
        self._note.end_leftovers(grace_s=0.0)
        self._clear()
        os._exit(exit_code)

    def _clear(self) -> None:
        if self._signals.has_come:
            # Ray's logs of what ended as it should; those of a failure stay.
            self._directory.clear_runtime(keep=self._keep)
        self._directory.remove_note()
        if self._reaper is not None:
            self._reaper.dismiss()

    def _sweep(self) -> None:
        """Run by the reaper, when this process was killed."""
        (self._directory.read_note() or self._note).end_leftovers()

    def _note_descendants(self) -> None:
        if not self._plan.address:
            reaper = self._reaper.pid if self._reaper else 0
            noted = tuple(
                (p.pid, p.started_at_s) for p in descendants(os.getpid()) if p.pid != reaper
            )
            self._note = replace(self._note, noted=noted)
            self._directory.write_note(self._note)

    def _tell(self, step: str) -> None:
        self._signals.check()
        self._say(step)

    def _say(self, step: str) -> None:
        seconds = time.monotonic() - self._begun_s
        _log.info("%5.1f s  %s", seconds, step)
        self._on_step(seconds, step)


class _Signals:
    """The first of SIGINT, SIGTERM and SIGHUP becomes `_Stop` in the main thread; each further one hurries.

    An exception that is raised inside somebody's finalizer is lost; `check` raises it again.
    """

    def __init__(self, hurry: Callable[[], None]) -> None:
        self._hurry = hurry
        self.has_come = False

    def install(self) -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    def ignore(self) -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def check(self) -> None:
        if self.has_come:
            raise _Stop

    def _on_signal(self, _number: int, _frame: object) -> None:
        if self.has_come:
            self._hurry()
        else:
            self.has_come = True
            raise _Stop


def _take_secrets(config: Config) -> dict[str, str]:
    """Take out of this process's environment what the processes that it starts must not inherit.

    Returns: the providers' keys, by the names that the configuration gives them.
    """
    for name in ("MIDSTREAM_ADMIN_KEY", "MIDSTREAM_API_KEY", "MIDSTREAM_DEMO_KEY"):
        os.environ.pop(name, None)
    names = {provider.api_key_env for provider in config.providers.values()}
    return {name: os.environ.pop(name) for name in names if name and name in os.environ}


def _drain_of(plan: InstancePlan, environment: Mapping[str, str]) -> Settings:
    """Return the settings; on a cluster that others use too, what runs has longer to end by itself."""
    if not plan.address or "MIDSTREAM_DRAIN_TIMEOUT_S" in environment:
        return plan.settings
    return plan.settings.with_changes(drain_timeout_s=JOINED_DRAIN_TIMEOUT_S)


def _first_note(plan: InstancePlan) -> InstanceNote:
    process = identify(os.getpid())
    assert process is not None, "this process lives"
    return InstanceNote(
        pid=process.pid,
        started_at_s=process.started_at_s,
        host=plan.settings.host,
        port=plan.settings.port,
        mark=secrets.token_hex(8),
        drain_timeout_s=plan.settings.drain_timeout_s,
        address=plan.address,
    )


def _is_ok(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path, timeout=2.0).status_code == 200
    except httpx.TransportError:
        return False
