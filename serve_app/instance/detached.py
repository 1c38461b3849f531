"""`midstream up --detach`: the same process as in the foreground, in a session of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from serve_app.cli.welcome import PROGRESS
from serve_app.instance.data_directory import DataDirectory, InstanceError
from serve_app.instance.instance import InstancePlan

__all__ = ["start_in_background"]

_READY_MARGIN_S = 60.0
"""What the process may take beside its start: to import, and to clear up a start that failed."""

_POLL_S = 0.1


def start_in_background(plan: InstancePlan, directory: DataDirectory) -> None:
    """Start it, wait until it is ready, and repeat what it said; its progress as it comes.

    Raises: SystemExit: it ended before; with its words and its exit code.
        InstanceError: it is not ready in time; it is stopped then.
    """
    said = directory.path / "up.log"
    with said.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve_app.cli.main", "up", *_arguments(plan)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    timeout_s = plan.settings.start_timeout_s + _READY_MARGIN_S
    deadline_s = time.monotonic() + timeout_s
    steps_told = 0
    while not _is_ready(said):
        has_ended = process.poll() is not None
        progress, others = _told(said)
        sys.stderr.write("".join(progress[steps_told:]))
        steps_told = len(progress)
        if has_ended:
            sys.stderr.write("".join(others))
            raise SystemExit(process.returncode)
        if time.monotonic() > deadline_s:
            process.terminate()
            raise InstanceError(f"It was not ready within {timeout_s:g} s: see {said}.")
        time.sleep(_POLL_S)
    progress, others = _told(said)
    sys.stderr.write("".join(progress[steps_told:]))
    sys.stdout.write("".join(others))


def _told(said: Path) -> tuple[list[str], list[str]]:
    """Return the lines of its progress, and the others; one that is not whole yet is left out."""
    lines = [line for line in said.read_text("utf-8").splitlines(True) if line.endswith("\n")]
    progress = [line for line in lines if PROGRESS.match(line)]
    return progress, [line for line in lines if not PROGRESS.match(line)]


def _is_ready(said: Path) -> bool:
    return any(line.startswith("ready http://") for line in said.read_text("utf-8").splitlines())


def _arguments(plan: InstancePlan) -> list[str]:
    settings = plan.settings
    values = {
        "--host": settings.host,
        "--port": settings.port,
        "--data-dir": settings.data_dir,
        "--database": settings.database,
        "--config": settings.config,
        "--streams-per-actor": settings.streams_per_actor,
        "--actors-per-node": settings.actors_per_node,
        "--start-timeout": settings.start_timeout_s,
        "--address": plan.address,
    }
    arguments = [f"{name}={value}" for name, value in values.items() if value != ""]
    flags = {
        "--strict": settings.streams_per_actor_max == settings.streams_per_actor,
        "--verbose": plan.is_verbose,
    }
    return arguments + [name for name, is_given in flags.items() if is_given]
