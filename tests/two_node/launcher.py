"""Does with `cluster.yaml` what Ray's cluster launcher does, on hosts that need no login.

Its addresses are placeholders, and are the hosts' here; its commands are run as they stand, in its
order, each in a shell of its own on the host it is for. What they install is there already, so that
nothing is downloaded: a virtual environment is made, and finds everything in the one of the tests.

Source: ray/autoscaler/_private/{commands,autoscaler,updater}.py of Ray 2.60.0, read 2026-11-22: mounts
come before setup, setup before start; all commands of a worker get RAY_HEAD_IP, those of the head do not.
"""

from __future__ import annotations

import importlib.metadata
import os
import site
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.two_node.network import Host

__all__ = ["CLUSTER_FILE", "LaunchError", "Launcher", "Run"]

CLUSTER_FILE = Path(__file__).parent.parent.parent / "cluster.yaml"

_COMMAND_TIMEOUT_S = 300.0
_COMMANDS_OF_THE_VENV = ("pip", "ray", "midstream")


class LaunchError(Exception):
    """A command failed; the message has the end of what it said."""


@dataclass(frozen=True, slots=True)
class Run:
    """A command of the cluster file that was run, and where."""

    section: str
    address: str
    command: str


class Launcher:
    """Launches one cluster.

    Args:
        folder: gets a home for each host and the logs; short, for sockets have short paths.
        hosts: the head and the workers.
        environment: what the hosts' own shells set.
    """

    def __init__(self, folder: Path, hosts: Sequence[Host], environment: Mapping[str, str]) -> None:
        self.cluster: dict[str, Any] = yaml.safe_load(CLUSTER_FILE.read_text("utf-8"))
        self.runs: list[Run] = []
        self._folder = folder
        self._environment = environment
        provider = self.cluster["provider"]
        addresses = (provider["head_ip"], *provider["worker_ips"])
        # More workers than the file names are what a user would add to it.
        more = (f"worker {number}" for number in range(len(addresses), len(hosts)))
        self._hosts: dict[str, Host] = dict(zip((*addresses, *more), hosts, strict=False))

    @property
    def head(self) -> Host:
        return next(iter(self._hosts.values()))

    @property
    def workers(self) -> tuple[Host, ...]:
        return tuple(self._hosts.values())[1:]

    def launch_head(self) -> None:
        """Bring the head up alone. Raises: LaunchError."""
        self._make_python()
        self._make_token()
        self._set_up(self.head)
        self._run_section("head_start_ray_commands", self.head)

    def launch_worker(self, worker: Host) -> None:
        """Have a worker join the head, which is up. Raises: LaunchError."""
        self._set_up(worker, RAY_HEAD_IP=self.head.address)
        self._run_section("worker_start_ray_commands", worker, RAY_HEAD_IP=self.head.address)

    def rejoin_worker(self, worker: Host) -> None:
        """Have a worker that was up before join once more, as after a reboot. Raises: LaunchError."""
        self._run_section("worker_start_ray_commands", worker, RAY_HEAD_IP=self.head.address)

    def launch(self) -> None:
        """Bring the head up, then the workers. Raises: LaunchError."""
        self._make_python()
        self._make_token()
        with ThreadPoolExecutor() as pool:
            setting_up = [
                pool.submit(self._set_up, worker, RAY_HEAD_IP=self.head.address)
                for worker in self.workers
            ]
            self._set_up(self.head)
            self._run_section("head_start_ray_commands", self.head)
            for done in setting_up:
                done.result()
        for worker in self.workers:
            self._run_section("worker_start_ray_commands", worker, RAY_HEAD_IP=self.head.address)

    def environment(self, host: Host) -> dict[str, str]:
        """Return what a shell on the host starts with."""
        return {
            "HOME": str(self._home(host)),
            "PATH": f"{self._folder}/bin:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin",
            "LANG": "C.UTF-8",
            **self._environment,
        }

    def venv(self, host: Host) -> Path:
        """Return where the setup commands make the virtual environment."""
        return self._home(host) / "midstream-venv"

    def log(self, host: Host) -> Path:
        """Return what has what the host's commands said."""
        return self._folder / f"{host.name}.log"

    def run(self, host: Host, command: str, **variables: str) -> None:
        """Run a shell command on the host. Raises: LaunchError."""
        path = self.log(host)
        with path.open("ab") as log:
            # Into a file: what a command leaves running must not keep a pipe of ours open.
            start = log.tell()
            done = subprocess.run(
                [*host.run_in, "bash", "-c", command],
                env=self.environment(host) | variables,
                cwd=self._home(host),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=_COMMAND_TIMEOUT_S,
                check=False,
            )
        if done.returncode != 0:
            said = path.read_bytes()[start:].decode(errors="replace")[-4_000:]
            raise LaunchError(f"{command}\nended with {done.returncode} on {host}:\n{said}")

    def _home(self, host: Host) -> Path:
        return self._folder / host.name

    def _make_python(self) -> None:
        """Let `python3` be the interpreter of the tests: the machine's own may be another version."""
        command = self._folder / "bin" / "python3"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {Path(sys.executable).resolve()} "$@"\n')
        command.chmod(0o755)

    def _make_token(self) -> None:
        """Do what the file tells its user to do once, on the machine that launches."""
        environment = os.environ | {"HOME": str(self._folder), "RAY_AUTH_MODE": "token"}
        subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "get-auth-token", "--generate"],
            env=environment,
            capture_output=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=True,
        )

    def _set_up(self, host: Host, **variables: str) -> None:
        home = self._home(host)
        home.mkdir()
        for target, source in self.cluster["file_mounts"].items():
            path = self._expand(target, home)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(self._expand(source, self._folder))
        _offer_what_is_installed(self.venv(host))
        self._run_section("setup_commands", host, **variables)

    def _expand(self, path: str, home: Path) -> Path:
        """Relative to the cluster file, as in the launcher's own folder, or to that home."""
        return home / path[2:] if path.startswith("~/") else CLUSTER_FILE.parent / path

    def _run_section(self, section: str, host: Host, **variables: str) -> None:
        for command in self.cluster[section]:
            self.run(host, command, **variables)
            self.runs.append(Run(section, host.address, command))


def _offer_what_is_installed(venv: Path) -> None:
    """Put into a virtual environment that is yet to be made the way to the packages of this one."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = venv / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    lines = [f"import site; site.addsitedir({path!r})" for path in _package_folders()]
    (packages / "installed.pth").write_text("\n".join(lines) + "\n")
    (venv / "bin").mkdir()
    for entry in importlib.metadata.entry_points(group="console_scripts"):
        if entry.name not in _COMMANDS_OF_THE_VENV:
            continue
        script = venv / "bin" / entry.name
        script.write_text(
            f"#!{venv}/bin/python\n"
            f"from {entry.module} import {entry.attr}\n"
            f"raise SystemExit({entry.attr}())\n"
        )
        script.chmod(0o755)


def _package_folders() -> list[str]:
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    return [folder for folder in folders if Path(folder).is_dir()]
