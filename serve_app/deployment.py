"""The application on Ray Serve: how it is deployed, and what a replica is. The one file here that calls Ray.

A replica joins the deploy that the cluster's key-value store names, and serves the application of
`serve_app.http.app` on one event loop. Behind HAProxy it speaks HTTP itself; behind the Python proxy it
is called by it. Facts about Serve 2.60 on which this rests, each seen in a run (2026-11-22):

1. A client that leaves is `http.disconnect` in `receive()` within a millisecond, then a
   `CancelledError`. The Python proxy may raise `TaskCancelledError` from `receive()` instead, which
   means the same, since nothing else cancels a call there: `serve_app.http.serve_headers` sees to that.
2. Behind HAProxy `send()` waits for a slow reader once the sockets between are full (7 MB here).
   The Python proxy's queue has no bound: only `log_bytes_max` bounds a reader there.
3. A replica that is stopped goes on with what it carries, for `graceful_shutdown_timeout_s`, and its
   application hears nothing of it. It is killed afterwards, which the application cannot see either:
   it never takes a stop for a client that left.
4. A stopped replica keeps its place among `max_replicas_per_node` until it has ended.

5. A Serve that lost its HAProxy at the start does not bring it back; and one that is ended in the middle
   of its shutdown leaves a mark in Ray's store by which the next controller shuts down at once, and
   perhaps a HAProxy, whose ports keep the next one from starting ("Some protocols failed to start their
   listeners", since Serve lets no two share a port). So where a start has failed, and all of Ray is ours,
   the next try begins with a new Ray.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import ray
from ray import serve
from ray.exceptions import TaskCancelledError
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.config import HTTPOptions
from ray.serve.schema import ApplicationStatus, LoggingConfig

from actors.cluster import node as cluster_node
from actors.cluster.deployed import LOCATION
from actors.cluster.garbage import spare_what_stands
from actors.cluster.joining import connect
from actors.settings import NAMESPACE, Settings
from serve_app.http.app import create_app
from serve_app.http.proxy_workers import ProxyWorkers
from serve_app.instance.data_directory import InstanceError
from serve_app.instance.environment import drain_limit_s
from serve_app.instance.start_limit import StartFailed

__all__ = [
    "DeploymentError",
    "Ingress",
    "deploy_application",
    "end_dead_controller",
    "forget_serve",
    "remove_application",
    "start_serve",
    "wait_until_running",
]

_log = logging.getLogger(__name__)

APPLICATION = NAMESPACE
DEPLOYMENT = "ingress"

_ONGOING_REQUESTS_MAX = 1_000_000
"""Serve's limit is one for all routes, and would let streams shut out the cancels: ours are elsewhere."""

_REDEPLOYS_AT_ONCE = 4
"""How many generations of replicas may live beside each other while the older ones drain."""

_REPLICAS_PER_NODE_MAX = 100  # Serve's own
_ALIVE_TIMEOUT_S = 10.0
_POLL_S = 0.05

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class DeploymentError(InstanceError):
    """Serve could not be started or the application not deployed."""

    exit_code = 1


class _ServedReplica:
    """One process that serves the application.

    Args:
        location: where the deploy's settings are kept.
        revision: a new value replaces the replicas, which Serve would keep for equal arguments.
    """

    def __init__(self, location: str, revision: str) -> None:
        self._location = location
        self._revision = revision

    async def __serve_build_asgi_app__(self) -> Any:
        """Return the application; Serve calls this once, before the replica takes requests."""
        runtime, deployed = await asyncio.to_thread(connect, self._location)
        settings = deployed.settings
        app = create_app(
            runtime,
            deployed.catalogue(),
            settings,
            is_draining=_draining_question(),
            workers=ProxyWorkers(settings.port) if settings.proxy == "haproxy" else None,
            replica=f"{ray.get_runtime_context().get_node_id()}/{os.getpid()}",
        )
        spare_what_stands()
        return app if settings.proxy == "haproxy" else _BehindPythonProxy(app)


Ingress = serve.deployment(name=DEPLOYMENT)(serve.ingress()(_ServedReplica))


class _BehindPythonProxy:
    """Turns the proxy's word for a client that left into ASGI's: see fact 1."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        async def receive_truly() -> Message:
            try:
                return await receive()
            except TaskCancelledError:
                return {"type": "http.disconnect"}

        await self._app(scope, receive_truly if scope["type"] == "http" else receive, send)


def start_serve(settings: Settings) -> None:
    """Start Serve on the cluster, with a proxy on every node that has a replica.

    Raises: DeploymentError: Serve runs there already and listens elsewhere. StartFailed.
    """
    options = HTTPOptions(host=settings.host, port=settings.port)
    try:
        running = _running_options()
        if running is not None and (running.host, running.port) != (settings.host, settings.port):
            raise DeploymentError(
                f"Serve runs on this cluster already and listens on {running.host}:{running.port}, "
                f"not on {settings.host}:{settings.port}: use --host and --port to say the same."
            )
        serve.start(proxy_location="EveryNode", http_options=options, logging_config=_logging())
    except (ray.exceptions.RayError, TimeoutError) as error:
        raise StartFailed(f"Ray Serve did not start: {_last_line(error)}") from error


def deploy_application(settings: Settings, *, revision: str, location: str = LOCATION) -> int:
    """Deploy the application, or bring its number of replicas to that of the nodes.

    Returns: how many replicas there shall be. They may not run yet: see `wait_until_running`.
    """
    per_node = settings.replicas_per_node
    replicas = per_node * len(cluster_node.alive_nodes())
    deployment = Ingress.options(
        num_replicas=replicas,
        # A place per generation (fact 4); Ray's spreading keeps the nodes even.
        max_replicas_per_node=min(per_node * _REDEPLOYS_AT_ONCE, _REPLICAS_PER_NODE_MAX),
        max_ongoing_requests=_ONGOING_REQUESTS_MAX,
        max_queued_requests=-1,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=float(drain_limit_s(settings)),
        health_check_period_s=5.0,
        health_check_timeout_s=30.0,
        logging_config=_logging(),
    )
    target = serve.RunTarget(
        target=deployment.bind(location, revision), name=APPLICATION, route_prefix="/"
    )
    serve.run_many([target], wait_for_applications_running=False)
    return replicas


def wait_until_running(replicas: int, *, timeout_s: float) -> None:
    """Wait until so many replicas run.

    Raises: DeploymentError: they failed; says why, where Serve knows. StartFailed: the time is over.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        application = serve.status().applications.get(APPLICATION)
        if application is not None:
            deployment = application.deployments.get(DEPLOYMENT)
            states = deployment.replica_states if deployment else {}
            if states.get("RUNNING", 0) >= replicas and "STARTING" not in states:
                return
            if application.status is ApplicationStatus.DEPLOY_FAILED:
                reason = deployment.message if deployment else application.message
                raise DeploymentError(f"The replicas did not start: {_last_line(reason)}")
        if time.monotonic() > deadline_s:
            raise StartFailed(f"The replicas did not start within {timeout_s:.0f} s.")
        time.sleep(_POLL_S)


def remove_application() -> None:
    """End Serve, or our part of it where others use it too; where it does not run, nothing is done."""
    if _running_options() is not None:
        if set(serve.status().applications) - {APPLICATION}:
            serve.delete(APPLICATION)
        else:
            serve.shutdown()


def end_dead_controller() -> None:
    """Let the next try begin with a new controller, where the one that a try started has not come up.

    One that answers is kept: it may be another's, or ours with all that it has begun.
    """
    try:
        controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
        ray.get(controller.check_alive.remote(), timeout=_ALIVE_TIMEOUT_S)
    except ValueError:
        pass  # there is none
    except ray.exceptions.RayError:
        ray.kill(controller)
        forget_serve()


def forget_serve() -> None:
    """Look for Serve again when it is next asked: the one that this process knew is gone."""
    serve.context._set_global_client(None)


def _running_options() -> HTTPOptions | None:
    client = serve.context._get_global_client(raise_if_no_controller_running=False)
    return None if client is None else client.http_config


def _logging() -> LoggingConfig:
    # No line per request: the completions' own records say more.
    return LoggingConfig(log_level="WARNING", enable_access_log=False)


def _draining_question() -> Callable[[], bool]:
    """Return what tells whether this replica is being stopped.

    Serve tells the application nothing before it is over, so its own mark is read; without it a
    disconnect on a draining replica would count as the client's.
    """
    worker = ray._private.worker.global_worker
    try:
        replica = worker.actors[worker.actor_id]._replica_impl
        return lambda: bool(replica._shutting_down)
    except (AttributeError, KeyError):
        _log.warning("this version of Ray Serve does not tell when a replica drains")
        return lambda: False


def _last_line(reason: object) -> str:
    lines = str(reason).strip().splitlines()
    return lines[-1] if lines else type(reason).__name__
