"""The fair baseline: Ray Serve behind HAProxy, forwarding bytes with httpx on httpx-aiohttp.

It runs on a Ray of its own, with the flags that Midstream sets, and does nothing of what Midstream
does. `python -m tests.benchmarks.passthrough_app` says `ready` and serves until SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path
from typing import Any

from actors.settings import Settings
from serve_app.environment import serve_environment


def forwarding_app(upstream: str) -> Any:
    """Return an ASGI application that sends each request on and its answer back."""
    import httpx
    from httpx_aiohttp import AiohttpTransport
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    transport = AiohttpTransport(limits=httpx.Limits(max_connections=None))
    client = httpx.AsyncClient(transport=transport, timeout=None)

    async def forward(request: Request) -> StreamingResponse:
        body = await request.body()
        headers = {"content-type": "application/json"}
        sent = client.build_request("POST", upstream, content=body, headers=headers)
        answer = await client.send(sent, stream=True)
        return StreamingResponse(
            answer.aiter_raw(),
            status_code=answer.status_code,
            media_type=answer.headers.get("content-type"),
        )

    return Starlette(routes=[Route("/v1/chat/completions", forward, methods=["POST"])])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    settings = Settings.from_environment(os.environ).with_changes(port=arguments.port)
    haproxy = arguments.folder / "ha"
    os.environ |= serve_environment(settings) | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "metrics.sock"),
    }
    os.environ.pop("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", None)
    # Ray and Serve read their variables when they are imported.
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=settings.object_store_bytes,
        _temp_dir=str(arguments.folder / "pt"),
    )
    serve.start(
        proxy_location="EveryNode",
        http_options=HTTPOptions(host="127.0.0.1", port=arguments.port),
    )

    class PassThrough:
        async def __serve_build_asgi_app__(self) -> Any:
            return forwarding_app(arguments.upstream)

    application = serve.deployment(name="ingress")(serve.ingress()(PassThrough)).options(
        num_replicas=settings.replicas_per_node,
        max_ongoing_requests=1_000_000,
        max_queued_requests=-1,
        ray_actor_options={"num_cpus": 0},
    )
    serve.run(application.bind(), name="pass-through", route_prefix="/")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    print("ready", flush=True)
    stopped.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
