"""Midstream on two hosts, as its clients see it: an address of each, and the same answers on both.

Who is where is asked of the kernel: a process is on the host whose network namespace it is in.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.chat_streams import ChatStream, body
from tests.support.instance import ADMIN_KEY, DEMO_KEY, ends_in_time, wait_until
from tests.two_node.launcher import CLUSTER_FILE, Launcher
from tests.two_node.network import Host, Names, Network, names_of_this_process

__all__ = ["Replica", "TwoNodes", "environment_of_hosts", "kept", "launched"]

PORT = 8_000
REPLICAS_PER_NODE = 1

_KEEPER_TIMEOUT_S = 90.0
_READY_TIMEOUT_S = 180.0
_LOG_TAIL = 3_000
_ANSWER_TIMEOUT_S = 30.0
_TRY_TIMEOUT_S = 2.0
_TRIES = 8
"""Requests in a row that see every replica: each proxy gives the next one to the least busy."""


class Replica(str):
    """Who answered: `NODE/PID`, from the header `Midstream-Replica`."""

    @classmethod
    def of(cls, headers: httpx.Headers) -> Replica:
        return cls(headers["midstream-replica"])

    @property
    def node_id(self) -> str:
        return self.split("/")[0]

    @property
    def pid(self) -> int:
        return int(self.split("/")[1])


class TwoNodes:
    """A cluster of a head and a worker that `cluster.yaml` brought up."""

    def __init__(self, folder: Path, network: Network) -> None:
        self._folder = folder
        self.network = network
        self.launcher = Launcher(folder, network.hosts, environment_of_hosts(folder))
        self.head, self.worker = network.hosts
        self._simulator_url = ""

    def launch(self) -> None:
        """Bring it up, and wait until both hosts serve and each reaches the other's replica."""
        self.launcher.launch()
        self.wait_until_ready()
        self._simulator_url = self.admin("/readyz")["simulator"]

    def wait_until_ready(self) -> None:
        """Wait until every replica is reached through both hosts, and itself reaches the actors."""
        count = 2 * REPLICAS_PER_NODE
        wait_until(
            lambda: all(len(self.replicas(host, "/readyz")) == count for host in self.hosts),
            "every replica is ready, through both hosts",
            _READY_TIMEOUT_S,
        )

    def last_words(self) -> str:
        """Return the ends of the logs, for a failure's report: nothing else is left of a run."""
        logs = [self._folder / "d" / "midstream.log", *map(self.launcher.log, self.hosts)]
        return "\n".join(
            f"--- {path.name}\n{path.read_text('utf-8', 'replace')[-_LOG_TAIL:]}"
            for path in logs
            if path.exists()
        )

    def redeploy(self) -> None:
        """Replace the replicas; there is no command for it, so a process on the head does it."""
        self.launcher.run(
            self.head,
            'export RAY_AUTH_MODE=token PATH="$HOME/midstream-venv/bin:$PATH"'
            ' && eval "$(midstream env --ray)"'
            f" && cd {CLUSTER_FILE.parent}"
            f" && python -m tests.support.redeploy {self.head.address}:6379",
        )

    @property
    def hosts(self) -> tuple[Host, Host]:
        return self.head, self.worker

    def host_of(self, pid: int) -> Host:
        """Return the host that the process is on."""
        inode = Path(f"/proc/{pid}/ns/net").stat().st_ino
        return next(h for h in self.hosts if Path(f"/run/netns/{h.name}").stat().st_ino == inode)

    # As a client of one host's address.

    def url(self, host: Host) -> str:
        return f"http://{host.address}:{PORT}"

    def client(self, host: Host, key: str = DEMO_KEY) -> httpx.Client:
        return httpx.Client(
            base_url=self.url(host),
            headers={"Authorization": f"Bearer {key}"},
            timeout=_ANSWER_TIMEOUT_S,
            trust_env=False,
            event_hooks={"response": [ends_in_time]},
        )

    def stream(self, host: Host) -> ChatStream:
        """Open a stream that would last for minutes; return when it has begun."""
        request = body("sim-long", max_tokens=5_000)
        return ChatStream(self.url(host), request).open().wait_for_tokens(5)

    def cancel(self, host: Host, completion_id: str) -> httpx.Response:
        with self.client(host) as client:
            return client.post(f"/v1/chat/completions/{completion_id}/cancel")

    def get(self, host: Host, completion_id: str) -> httpx.Response:
        with self.client(host) as client:
            return client.get(f"/v1/chat/completions/{completion_id}")

    def balance(self, host: Host) -> dict[str, Any]:
        with self.client(host) as client:
            return dict(client.get("/v1/balance").raise_for_status().json())

    def admin(self, path: str, host: Host | None = None) -> Any:
        with self.client(host or self.head, ADMIN_KEY) as client:
            return client.get(path).raise_for_status().json()

    def row(self, completion_id: str) -> dict[str, Any]:
        """Return the running completion's line in the list of completions."""
        rows = self.admin("/admin/v1/completions?limit=100")["data"]
        return next(dict(row) for row in rows if row["id"] == completion_id)

    def simulated(self, completion_id: str) -> dict[str, Any]:
        """Return what the simulator saw of the one upstream request, once it has ended."""
        url = f"{self._simulator_url}/_simulator/requests"

        def ended() -> dict[str, Any] | None:
            answer = httpx.get(
                url,
                params={"completion_id": completion_id},
                headers={"Authorization": f"Bearer {ADMIN_KEY}"},
                trust_env=False,
            )
            (row,) = answer.json()["data"]
            return dict(row) if row["closed_by"] else None

        return dict(wait_until(ended, f"the upstream request of {completion_id} has ended"))

    def replicas(self, host: Host, path: str = "/healthz") -> set[Replica]:
        """Return who answers through this host's address; nobody if one fails to."""
        found: set[Replica] = set()
        for _ in range(_TRIES):
            try:
                # Each on a connection of its own, so that the proxy chooses anew.
                answer = httpx.get(
                    f"{self.url(host)}{path}", timeout=_TRY_TIMEOUT_S, trust_env=False
                )
                found.add(Replica.of(answer.raise_for_status().headers))
            except (httpx.HTTPError, KeyError):
                return set()
        return found


@contextmanager
def launched() -> Iterator[TwoNodes]:
    """Make the hosts, launch the cluster on them, and leave nothing of either.

    Raises: NetworkError: the hosts cannot be made here.
    """
    # In the system's folder by its short name: Ray and HAProxy make sockets, whose paths are short.
    folder = Path(tempfile.mkdtemp(prefix="ms", dir="/tmp"))
    names = names_of_this_process()
    with kept(folder, names):
        cluster = TwoNodes(folder, Network(names))
        try:
            cluster.launch()
        except BaseException as error:
            error.add_note(cluster.last_words())
            raise
        yield cluster


@contextmanager
def kept(folder: Path, names: Names) -> Iterator[None]:
    """Have a keeper, which takes everything away when this ends, or this process does."""
    keeper = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.two_node.keeper"),
            *(str(folder), names.interface, *names.namespaces),
        ],
        stdin=subprocess.PIPE,
        cwd=CLUSTER_FILE.parent,
        start_new_session=True,
    )
    assert keeper.stdin is not None
    try:
        yield
    finally:
        keeper.stdin.close()
        assert keeper.wait(_KEEPER_TIMEOUT_S) == 0, "the keeper said why"


def environment_of_hosts(folder: Path) -> dict[str, str]:
    """Return what the hosts' shells set: what the cluster file leaves open, and places of ours."""
    return {
        "TMPDIR": str(folder),
        # What is to be installed is there already, and pip must not look for it elsewhere.
        "MIDSTREAM_SOURCE": "midstream",
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "MIDSTREAM_RAY_FLAGS": (
            f"--temp-dir={folder}/r --num-cpus=1 --object-store-memory={128 * 1024 * 1024}"
        ),
        "MIDSTREAM_DATA_DIR": str(folder / "d"),
        "MIDSTREAM_DEMO_KEY": DEMO_KEY,
        "MIDSTREAM_ADMIN_KEY": ADMIN_KEY,
        "MIDSTREAM_REPLICAS_PER_NODE": str(REPLICAS_PER_NODE),
        "MIDSTREAM_ACTORS_WARM": "2",
        # A test's cut must not become the death of a node, which Ray declares after a minute.
        "RAY_health_check_failure_threshold": "20",
    }
