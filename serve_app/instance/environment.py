"""Every variable that Ray and Ray Serve read from the environment of a node, and why it is set.

Serve reads its flags in each process, from the environment that Ray gave it: they must be there
before `ray start`, on every node, and be the same everywhere. An instance with a Ray of its own
sets them itself; `midstream env --ray` prints them for the nodes of a cluster.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from actors.settings import Settings
from serve_app.instance.data_directory import HAPROXY_FOLDER
from serve_app.instance.haproxy import BINARY_VARIABLE
from serve_app.instance.processes import MARK

__all__ = [
    "NODE_VARIABLES",
    "TOKEN_MODE",
    "differences",
    "drain_limit_s",
    "node_environment",
    "private_ray_environment",
    "serve_environment",
]

TOKEN_MODE = ("RAY_AUTH_MODE", "token")
"""Without it whoever reaches a node runs code there: Serve's replicas unpickle what they are sent."""

NODE_VARIABLES = (
    BINARY_VARIABLE,
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC",
    "RAY_SERVE_HAPROXY_SOCKET_PATH",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH",
)
"""What each node has with a value of its own, and none may be without: Serve's defaults are in a
folder that every user of the machine may make first."""

_DRAIN_MARGIN_S = 60
"""How much longer than any completion an old HAProxy and a stopped replica may live."""

_NODE_WAIT_S = 60
"""Three tries within the default limit of a start."""


def serve_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that all nodes of a cluster share.

    A stream may last `total_timeout_s`, so nothing that carries one is stopped sooner: HAProxy's old
    process after a reload (`hard-stop-after`), or an idle client (`timeout client`).
    """
    longest_s = drain_limit_s(settings)
    variables = {
        # The replica's loop runs the application, so that `send` waits for a slow reader; in a
        # thread of its own it would append to a queue without a bound.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        # Removes the two headers by which a client could cut or keep a stream behind our back.
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.http.serve_headers:middlewares",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # Ray's own 15 gives every worker what the rest of the machine leaves.
        "RAY_worker_niceness": str(settings.worker_niceness),
        # A proxy is replaced after the third check that it fails: in 6 s instead of 30.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
        "RAY_SERVE_ENABLE_HA_PROXY": "1" if settings.proxy == "haproxy" else "0",
    }
    if settings.proxy == "python":
        return variables
    return variables | {
        # A HAProxy whose proxy actor was killed would keep its ports from the next one; with this the
        # raylet ends it.
        "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper": "true",
        # How long a stopped replica waits for HAProxy to forget it. `serve.shutdown` waits as long,
        # at most 30 s in all, while nothing can reach the replica any more.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(longest_s),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(longest_s),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(settings.haproxy_stats_port),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(settings.haproxy_metrics_port),
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        # One line of log per request, parsed in Python by the proxy actor: for a dashboard we do
        # not run. HAProxy's own counters are served in any case.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    }


def node_environment(settings: Settings, *, folder: Path, launcher: Path | None) -> dict[str, str]:
    """Return the variables that are a node's own: Ray's token mode, and where HAProxy keeps things.

    Args:
        folder: of this user alone, for HAProxy's configuration and its sockets.
        launcher: what starts HAProxy; None leaves it to Serve.
    """
    name, value = TOKEN_MODE
    if settings.proxy == "python":
        return {name: value}
    paths = (
        str(launcher) if launcher else "",
        str(folder / "haproxy.cfg"),
        str(folder / "admin.sock"),
        str(folder),
        str(folder / "server-state"),
        str(folder / "metrics.sock"),
    )
    own = dict(zip(NODE_VARIABLES, paths, strict=True))
    return {name: value} | {key: path for key, path in own.items() if path}


def private_ray_environment(
    settings: Settings,
    *,
    mark: str,
    runtime_path: Path,
    token_path: Path,
    fallback_port: int,
    haproxy_path: Path | None,
) -> dict[str, str]:
    """Return the variables of an instance that starts its own Ray, Serve's included.

    Args:
        runtime_path: where HAProxy keeps its configuration and its socket; Serve's default is one
            folder for the whole machine.
        fallback_port: where Serve puts the Python proxy that stands behind HAProxy; nobody is sent
            there, so any will do.
        haproxy_path: what starts HAProxy; None leaves it to Serve.
    """
    own = node_environment(settings, folder=runtime_path / HAPROXY_FOLDER, launcher=haproxy_path)
    return serve_environment(settings) | {
        **own,
        **_patience(settings),
        MARK: mark,
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        "RAY_USAGE_STATS_ENABLED": "0",
        # What only a dashboard would show costs CPU with every call of an actor.
        "RAY_task_events_report_interval_ms": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_port),
    }


def _patience(settings: Settings) -> dict[str, str]:
    """Return what makes Ray and Serve wait where a busy machine starts their processes slowly.

    Ray's driver waits for its node as long as one question takes, at least the 30 s of its code. A
    minute, since a node that died is waited for as long, and is started again after it.
    """
    whole_s = math.ceil(settings.start_timeout_s)
    return {
        "RAY_raylet_start_wait_time_s": str(min(whole_s, _NODE_WAIT_S)),
        "RAY_raylet_client_num_connect_attempts": str(min(whole_s, _NODE_WAIT_S)),
        "RAY_agent_register_timeout_ms": str(whole_s * 1_000),
        # A worker that is later is killed, and with it the actor that it was started for.
        "RAY_worker_register_timeout_seconds": str(whole_s),
        # Serve kills a proxy that is not ready so soon, and begins another.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(_NODE_WAIT_S),
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": str(whole_s),
    }


def drain_limit_s(settings: Settings) -> int:
    """How long a replica or a proxy that is being replaced may go on with what it carries."""
    return math.ceil(max(settings.total_timeout_s, settings.drain_timeout_s)) + _DRAIN_MARGIN_S


def differences(wanted: Mapping[str, str], found: Mapping[str, str | None]) -> list[str]:
    """Say what differs, as "NAME is unset where 1 is needed"."""
    return [
        f"{name} is {found.get(name) or 'unset'} where {value} is needed"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
