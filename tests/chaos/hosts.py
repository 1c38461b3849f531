"""Three hosts with addresses of their own, a cluster by `cluster.yaml`, and what can happen to a host.

A host is a network namespace of this machine. The upstream is on the machine itself, which no strike
reaches. A worker is killed with all that it runs, and joins again as a machine that was rebooted; a
host whose cable is pulled lives on, alone.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.benchmarks.process_group import Namespaces
from tests.chaos.faults import CUT, KILLED, Condition
from tests.support.instance import wait_until
from tests.two_node.cluster import PORT, environment_of_hosts, kept
from tests.two_node.launcher import Launcher
from tests.two_node.network import Host, Network, names_of_this_process

__all__ = ["Cable", "Hosts", "Machine", "launched", "three_hosts"]

_READY_TIMEOUT_S = 240.0
_TRY_TIMEOUT_S = 5.0
_CUTS_S = (2.0, 20.0)


class Hosts:
    """The hosts of a cluster that is up. `away` are those that no client reaches at the moment."""

    def __init__(self, network: Network, launcher: Launcher) -> None:
        self.network = network
        self.launcher = launcher
        self.away: set[Host] = set()

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(map(_url, self.network.hosts))

    def reachable(self) -> tuple[str, ...]:
        return tuple(_url(host) for host in self.network.hosts if host not in self.away)

    @property
    def group(self) -> Namespaces:
        return Namespaces([host.name for host in self.network.hosts])

    def down(self) -> int:
        """Take Midstream down where it was brought up; returns 0, or raises what the command said."""
        self.launcher.run(
            self.launcher.head,
            'export RAY_AUTH_MODE=token PATH="$HOME/midstream-venv/bin:$PATH" && midstream down',
        )
        return 0


class Cable:
    """The network of a host."""

    acts = (CUT,)

    def __init__(self, name: str, hosts: Hosts, choice: Sequence[Host]) -> None:
        self.name = name
        self._hosts = hosts
        self._choice = choice

    async def strike(self, act: str, dice: random.Random) -> Condition | None:
        del act
        host = dice.choice(self._choice)
        if host in self._hosts.away:
            return None
        self._hosts.away.add(host)
        await asyncio.to_thread(self._hosts.network.cut, host)
        try:
            await asyncio.sleep(dice.uniform(*_CUTS_S))
        finally:
            self._hosts.network.mend(host)
            self._hosts.away.remove(host)

        async def is_back() -> bool:
            return True

        return is_back


class Machine:
    """A worker, which loses its power and is started again."""

    name = "worker"
    acts = (KILLED,)

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    async def strike(self, act: str, dice: random.Random) -> Condition | None:
        del act
        host = dice.choice(self._hosts.launcher.workers)
        if host in self._hosts.away:
            return None
        self._hosts.away.add(host)
        for pid in Namespaces([host.name]).pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        joining = asyncio.ensure_future(asyncio.to_thread(self._hosts.launcher.rejoin_worker, host))

        async def is_back() -> bool:
            if not joining.done():
                return False
            joining.result()
            self._hosts.away.discard(host)
            return True

        return is_back


@contextmanager
def three_hosts() -> Iterator[tuple[Path, Network]]:
    """Yield a folder of theirs and the hosts, on which nothing runs; all is gone afterwards.

    Raises: NetworkError: they cannot be made here.
    """
    # By a short name: Ray and HAProxy make sockets, whose paths are short.
    folder = Path(tempfile.mkdtemp(prefix="ms", dir="/tmp"))
    names = names_of_this_process(3)
    with kept(folder, names):
        yield folder, Network(names)


def launched(folder: Path, network: Network, environment: Mapping[str, str]) -> Hosts:
    """Bring the cluster up, with variables of ours on every host. Raises: LaunchError."""
    variables = environment_of_hosts(folder) | dict(environment)
    hosts = Hosts(network, Launcher(folder, network.hosts, variables))
    hosts.launcher.launch()
    wait_until(lambda: _is_ready(hosts), "all hosts are ready", _READY_TIMEOUT_S)
    return hosts


def _url(host: Host) -> str:
    return f"http://{host.address}:{PORT}"


def _is_ready(hosts: Hosts) -> bool:
    try:
        for url in hosts.urls:
            answer = httpx.get(f"{url}/readyz", timeout=_TRY_TIMEOUT_S, trust_env=False)
            answer.raise_for_status()
    except httpx.HTTPError:
        return False
    return True
