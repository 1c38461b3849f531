"""What others put between a client and its models, each as its own page says, at our upstream.

They are installed by `install_peers`; what each does beside forwarding bytes is said at its title. Access
logs are off everywhere. The Rust servers take a thread per CPU, nginx a process each, and Portkey has one
process; LiteLLM has a worker per CPU, since its own page recommends one where there is one CPU
(docs.litellm.ai/docs/proxy/prod, read 2026-11-22).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks.install_peers import command_of, missing, peer_folder
from tests.benchmarks.starting import HTTP_PROCESSES, Endpoint, Party, Place, run_command
from tests.benchmarks.upstream import MODELS
from tests.support.ports import free_port

__all__ = ["OTHERS"]

_KEY = "sk-benchmark"

_NGINX = """\
worker_processes {processes};
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream simulator {{ server {upstream}; keepalive 512; }}
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location / {{
      proxy_pass http://simulator;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"""


def _nginx(place: Place) -> AbstractContextManager[Endpoint]:
    port = free_port()
    config = place.folder / "nginx.conf"
    config.write_text(
        _NGINX.format(
            processes=HTTP_PROCESSES,
            user="user root;" if os.geteuid() == 0 else "",
            folder=place.folder,
            upstream=urlsplit(place.upstream).netloc,
            port=port,
        )
    )
    command = [str(command_of("nginx")), "-p", str(place.folder), "-c", str(config)]
    command += ["-e", str(place.folder / "error.log"), "-g", "daemon off;"]
    return run_command(place, command, port)


def _vllm_router(place: Place) -> AbstractContextManager[Endpoint]:
    port = free_port()
    command = [str(command_of("vllm-router")), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--worker-urls", place.upstream, "--policy", "round_robin"]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
    return run_command(place, [*command, "--log-level", "error"], port)


def _smg(place: Place) -> AbstractContextManager[Endpoint]:
    port = free_port()
    command = [str(command_of("smg")), "launch", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--worker-urls", place.upstream, "--backend", "openai", "--policy", "round_robin"]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
    command += ["--api-key", _KEY, "--history-backend", "none", "--log-level", "error"]
    return run_command(place, command, port, key=_KEY)


def _rolter(place: Place) -> AbstractContextManager[Endpoint]:
    port = free_port()
    config = place.folder / "rolter.toml"
    parts = [
        f'[server]\nhost = "127.0.0.1"\nport = {port}\nrequire_auth = true\n',
        f'[[virtual_keys]]\nkey = "{_KEY}"\nname = "benchmark"\n',
        f'[[providers]]\nname = "upstream"\nkind = "openai_compatible"\napi_base = "{place.upstream}"\n',
    ]
    for name in MODELS:
        price = "input_per_mtok = 1.0\noutput_per_mtok = 1.0"
        parts.append(f'[[model_prices]]\nmodel = "{name}"\n{price}\n')
        target = f'[[routes.targets]]\nprovider = "upstream"\nmodel = "{name}"\n'
        parts.append(f'[[routes]]\nmodel = "{name}"\n{target}')
    config.write_text("\n".join(parts))
    command = [str(command_of("rolter")), "gateway", "--config", str(config)]
    return run_command(place, command, port, key=_KEY, variables={"RUST_LOG": "error"})


def _portkey(place: Place) -> AbstractContextManager[Endpoint]:
    port = free_port()
    mend = peer_folder("portkey") / "mend.mjs"
    command = ["node", "--import", str(mend), str(command_of("portkey"))]
    more = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{place.upstream}/v1"}
    return run_command(
        place,
        [*command, f"--port={port}", "--headless"],
        port,
        key=_KEY,
        variables={"NODE_ENV": "production"},
        more=more,
    )


def _litellm(place: Place) -> AbstractContextManager[Endpoint]:
    port = free_port()
    parameters = {"api_base": f"{place.upstream}/v1", "api_key": "none"}
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", **parameters}}
        for name in MODELS
    ]
    config = place.folder / "litellm.yaml"  # JSON is YAML.
    config.write_text(json.dumps({"model_list": models}))
    command = [str(_litellm_path()), "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", str(os.cpu_count() or 1)]
    variables = {
        "LITELLM_MASTER_KEY": _KEY,
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        # The price list that comes with it, instead of one from the network.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    return run_command(place, command, port, key=_KEY, variables=variables)


def _litellm_path() -> Path:
    """Return the command that `LITELLM` names, or the one that was installed."""
    return Path(os.environ.get("LITELLM") or command_of("litellm"))


def _missing_litellm() -> str:
    return "" if _litellm_path().exists() else missing("litellm")


def _missing_portkey() -> str:
    return missing("portkey") or ("" if shutil.which("node") else "there is no node")


def _party(
    name: str,
    title: str,
    start: Callable[[Place], AbstractContextManager[Endpoint]],
    why: Callable[[], str] | None = None,
) -> Party:
    return Party(name, title, start, missing=why or partial(missing, name))


OTHERS = (
    _party("nginx", "nginx (bytes alone)", _nginx),
    _party("vllm-router", "vllm-router (routing)", _vllm_router),
    _party("smg", "SMG (key, routing)", _smg),
    _party("rolter", "rolter (key, cost)", _rolter),
    _party("portkey", "Portkey gateway", _portkey, _missing_portkey),
    _party("litellm", "LiteLLM proxy (key, cost)", _litellm, _missing_litellm),
)
