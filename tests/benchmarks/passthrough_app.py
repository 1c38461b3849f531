"""The bare application of the pass-through parties: it forwards bytes, and does nothing else.

Under plain uvicorn it is `app_from_environment`. `python -m tests.benchmarks.passthrough_app` runs it
on a Ray and a Serve of its own, with the variables that Midstream sets for them, says `ready` and serves
until SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import threading
from pathlib import Path
from typing import Any

from actors.settings import Settings
from serve_app.instance.environment import private_ray_environment
from serve_app.instance.haproxy import write_launcher
from tests.benchmarks.upstream import PATH
from tests.support.ports import free_port

__all__ = ["PATH", "TRANSPORT_VARIABLE", "UPSTREAM_VARIABLE", "app_from_environment"]

UPSTREAM_VARIABLE = "PASS_THROUGH_UPSTREAM"
TRANSPORT_VARIABLE = "PASS_THROUGH_TRANSPORT"
TRANSPORTS = ("aiohttp", "httpx")
"""httpx on httpx-aiohttp, or on the transport that it comes with."""

_CONNECTIONS_MAX = 1_000_000
"""As good as none; None would be aiohttp's default: 100."""


def app_from_environment() -> Any:
    return forwarding_app(os.environ[UPSTREAM_VARIABLE], os.environ[TRANSPORT_VARIABLE])


def forwarding_app(upstream: str, transport: str) -> Any:
    """Return an ASGI application that sends each request on and its answer back."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    client = _client(transport)
    url = f"{upstream}{PATH}"

    async def forward(request: Request) -> StreamingResponse:
        body = await request.body()
        headers = {"content-type": "application/json"}
        sent = client.build_request("POST", url, content=body, headers=headers)
        answer = await client.send(sent, stream=True)
        return StreamingResponse(
            answer.aiter_raw(),
            status_code=answer.status_code,
            media_type=answer.headers.get("content-type"),
        )

    return Starlette(routes=[Route(PATH, forward, methods=["POST"])])


def _client(transport: str) -> Any:
    import httpx
    from httpx_aiohttp import AiohttpTransport

    limits = httpx.Limits(max_connections=_CONNECTIONS_MAX)
    if transport == "httpx":
        return httpx.AsyncClient(limits=limits, timeout=None)
    return httpx.AsyncClient(transport=AiohttpTransport(limits=limits), timeout=None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--transport", choices=TRANSPORTS, default="aiohttp")
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    settings = Settings.from_environment(os.environ).with_changes(port=arguments.port)
    token = arguments.folder / "token"
    token.write_text(secrets.token_hex(32))
    os.environ |= private_ray_environment(
        settings,
        mark=secrets.token_hex(8),
        runtime_path=arguments.folder,
        token_path=token,
        fallback_port=free_port(),
        haproxy_path=write_launcher(arguments.folder),
    )
    os.environ.pop("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH")
    # Ray and Serve read their variables when they are imported.
    _serve(settings, arguments)


def _serve(settings: Settings, arguments: argparse.Namespace) -> None:
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions
    from ray.serve.schema import LoggingConfig

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
            return forwarding_app(arguments.upstream, arguments.transport)

    application = serve.deployment(name="ingress")(serve.ingress()(PassThrough)).options(
        num_replicas=settings.replicas_per_node,
        max_ongoing_requests=1_000_000,
        max_queued_requests=-1,
        ray_actor_options={"num_cpus": 0},
        logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
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
