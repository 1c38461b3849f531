"""Ray, the runtime's actors, Serve and the application: brought up in order, taken down in reverse.

It does each step once: `instance` says when one is done again. Nothing here is imported before the
variables that Ray and Serve read are set.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from actors.cluster import node as cluster_node
from actors.cluster.deploying import DeployError, deploy_actors, drain_actors, remove_actors
from actors.cluster.node import ClusterError
from actors.settings import Settings
from actors.upstream.config import Config
from serve_app.deployment import (
    DeploymentError,
    deploy_application,
    end_dead_controller,
    forget_serve,
    remove_application,
    start_serve,
    wait_until_running,
)
from serve_app.instance.data_directory import LOOPBACKS, InstanceError
from serve_app.instance.environment import (
    NODE_VARIABLES,
    TOKEN_MODE,
    differences,
    serve_environment,
)
from serve_app.instance.start_limit import StartFailed
from serve_app.instance.supervision import Part

__all__ = ["Stack", "remove_from"]

_SERVING_TIMEOUT_S = 10.0
"""How long a start of Serve that was broken off may go on before Ray is taken from under it."""


class _StackStage(Enum):
    NOTHING = "nothing"
    CONNECTED = "connected"
    DEPLOYING = "deploying"
    DEPLOYED = "deployed"
    DRAINING = "draining"


class Stack:
    """Args: address: of the cluster to join; "" starts a Ray of this process's own."""

    def __init__(self, settings: Settings, *, address: str, is_verbose: bool) -> None:
        self._settings = settings
        self._address = address
        self._is_verbose = is_verbose
        self._revision = secrets.token_hex(4)
        self._stage = _StackStage.NOTHING
        self._nodes: list[str] = []
        self._serving: Future[None] | None = None

    @property
    def is_connected(self) -> bool:
        return self._stage is not _StackStage.NOTHING

    @property
    def is_serving(self) -> bool:
        return self._stage is _StackStage.DEPLOYED

    @property
    def is_draining(self) -> bool:
        return self._stage is _StackStage.DRAINING

    def connect(self, directory: Path) -> None:
        """Start Ray with its sessions in `directory`, or join the cluster and check its nodes.

        Raises: InstanceError. StartFailed: Ray was too slow; `disconnect`, then try again.
        """
        with _one_sentence():
            if self._address:
                cluster_node.join(self._address, is_verbose=self._is_verbose)
                self._stage = _StackStage.CONNECTED
                self._check_nodes()
            else:
                size = self._settings.object_store_bytes
                self._stage = _StackStage.CONNECTED
                cluster_node.start_private(
                    directory, object_store_bytes=size, is_verbose=self._is_verbose
                )

    def start_services(
        self,
        config: Config,
        demo_key_digest: str,
        provider_keys: Mapping[str, str],
        *,
        cluster: str = "",
        is_store_known: bool = False,
        timeout_s: float,
    ) -> None:
        """Bring up the actors, and Serve beside them.

        Args:
            provider_keys: by the names that the configuration gives them.
            cluster: a name of its own, for a cluster that has none yet.
            is_store_known: it was made before: an empty one is refused.

        Raises: InstanceError. StartFailed: whatever of it stands is kept by another try.
        """
        self._stage = _StackStage.DEPLOYING
        serving = self._serving = _beside(lambda: start_serve(self._settings))
        try:
            with _one_sentence():
                deploy_actors(
                    self._settings,
                    config,
                    cluster=cluster,
                    is_store_known=is_store_known,
                    demo_key_digest=demo_key_digest,
                    provider_keys=provider_keys,
                )
        except StartFailed:
            wait([serving], timeout=timeout_s)  # No two tries of Serve's are made at once.
            raise
        wait([serving], timeout=timeout_s)
        if not serving.done():
            raise StartFailed("Ray Serve's controller does not answer.")
        serving.result()

    def start_replicas(self, *, timeout_s: float) -> None:
        """Deploy the application, and wait until it runs. Raises: InstanceError. StartFailed."""
        self._nodes = cluster_node.alive_nodes()
        wait_until_running(
            deploy_application(self._settings, revision=self._revision), timeout_s=timeout_s
        )
        self._stage = _StackStage.DEPLOYED

    def parts(self) -> dict[Part, tuple[str, int]]:
        """Return where what this runs on listens; the Python proxy is Serve's alone to bring back."""
        raylet, gcs = cluster_node.own_addresses()
        found = {Part.RAYLET: raylet, Part.GCS: gcs}
        if self._settings.proxy == "haproxy" and not self._address:
            host = LOOPBACKS.get(self._settings.host, self._settings.host)
            found[Part.PROXY] = (host, self._settings.port)
        return found

    def follow_nodes(self) -> None:
        """Bring the number of replicas to that of the nodes, where nodes came or went."""
        nodes = cluster_node.alive_nodes()
        if nodes != self._nodes:
            self._nodes = nodes
            deploy_application(self._settings, revision=self._revision)

    def end_dead_controller(self) -> None:
        """Clear away what of Serve did not come up in another's Ray."""
        end_dead_controller()

    def disconnect(self) -> None:
        """Leave Ray, or what came up of it."""
        self._stage = _StackStage.NOTHING
        forget_serve()
        cluster_node.leave()

    def stop(self, *, is_hurried: Callable[[], bool]) -> None:
        """End the completions, then Serve, then the actors, then Ray; what is not there is skipped.

        Args:
            is_hurried: whether what runs is to be cancelled before its time is over.
        """
        stage = self._stage
        # Of a start that was broken off nothing runs that could be settled, and Serve, half up, would take
        # minutes to stop: a Ray of our own ends with all of it.
        is_in_others_ray = stage is _StackStage.DEPLOYING and bool(self._address)
        if stage is _StackStage.DEPLOYED or is_in_others_ray:
            self._stage = _StackStage.DRAINING
            drain_actors(self._settings.drain_timeout_s, is_hurried=is_hurried)
            self._stage = stage
            _take_down()
        if stage is not _StackStage.NOTHING:
            if self._serving is not None:
                # Ray may end a process whose thread asks it something while it is shut down.
                wait([self._serving], timeout=_SERVING_TIMEOUT_S)
            self.disconnect()

    def _check_nodes(self) -> None:
        """Raises: InstanceError: a node has no token, other versions or other flags; says which."""
        wanted = serve_environment(self._settings)
        versions = cluster_node.own_versions()
        mode, token = TOKEN_MODE
        own = NODE_VARIABLES if self._settings.proxy == "haproxy" else ()
        nodes = cluster_node.ask_nodes([mode, *wanted, *own])
        for node in nodes:
            if node.variables.get(mode) != token:
                raise InstanceError(
                    f"The cluster's node {node.address} runs without Ray's token, so that whoever "
                    f"reaches it can run code there: start every node with {mode}={token} and a "
                    "token of `ray get-auth-token --generate`."
                )
        for node in nodes:
            missing = [f"{name} is unset" for name in own if not node.variables.get(name)]
            differing = differences(versions, node.versions) + differences(wanted, node.variables)
            differing += missing
            if differing:
                more = f" (and {len(differing) - 1} more)" if differing[1:] else ""
                raise InstanceError(
                    f"On node {node.address}, {differing[0]}{more}: "
                    'run eval "$(midstream env --ray)" there before `ray start`.'
                )


def remove_from(address: str, *, drain_timeout_s: float) -> None:
    """Take down what a killed instance left on the cluster that it had joined.

    Raises: InstanceError: the cluster cannot be joined.
    """
    with _one_sentence():
        cluster_node.join(address, is_verbose=False)
    try:
        drain_actors(drain_timeout_s)
        _take_down()
    finally:
        cluster_node.leave()


def _take_down() -> None:
    """End what served. The completions have ended, while they could be read: Serve ends its proxies first."""
    remove_application()
    remove_actors()


def _beside(work: Callable[[], None]) -> Future[None]:
    """Do it in a thread that keeps nobody from ending: Serve waits for its controller without a limit."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done


@contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except ClusterError as error:
        raise (StartFailed if error.may_pass else InstanceError)(str(error)) from error
    except DeployError as error:
        kind = InstanceError if error.is_store else DeploymentError
        raise (StartFailed if error.may_pass else kind)(str(error)) from error
