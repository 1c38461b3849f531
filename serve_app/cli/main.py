"""The command `midstream`: start an instance, stop it, tell how to reach it.

Everything that asks a running instance is in `remote_commands`. Exit codes: 0 done; 1 the server said no,
or something broke; 2 a mistake of the operator's, told in one sentence before anything was started; 3 what
an instance runs on is gone (Ray's raylet or GCS), and starting it again helps.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from actors.core.plain_text import plain
from actors.settings import Settings, SettingsError
from actors.upstream.config import ConfigError, load_config
from serve_app.cli import load as cli_load
from serve_app.cli import remote_commands as cli_remote
from serve_app.cli.output import Output
from serve_app.cli.remote import RemoteError
from serve_app.cli.welcome import progress, welcome
from serve_app.instance.backups import back_up_store, give_back_unresolved, restore_store
from serve_app.instance.data_directory import DataDirectory, InstanceError
from serve_app.instance.detached import start_in_background
from serve_app.instance.environment import node_environment, serve_environment
from serve_app.instance.haproxy import write_launcher
from serve_app.instance.instance import Instance, InstancePlan
from serve_app.instance.stop import stop_instance
from serve_app.instance.supervision import RuntimeLost

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The runtime for LLM completions that are still running.",
)

DataDir = Annotated[
    str | None, typer.Option(help="Where the instance keeps everything; ~/.midstream if not said.")
]
Database = Annotated[
    str | None, typer.Option(help="A postgresql:// URL (SQLite in the data directory).")
]


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (8000).")] = None,
    data_dir: DataDir = None,
    database: Database = None,
    config: Annotated[
        str | None, typer.Option(help="YAML file of providers and models (simulated models).")
    ] = None,
    streams_per_actor: Annotated[
        int | None, typer.Option(help="Completions in a process while others are free (1).")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Never more than that: a start waits for a process.")
    ] = False,
    actors_per_node: Annotated[
        int | None, typer.Option(help="Processes that carry completions, per node (64).")
    ] = None,
    address: Annotated[str, typer.Option(help="Join this Ray cluster (a private Ray).")] = "",
    start_timeout: Annotated[
        float | None, typer.Option(help="Seconds until a start that is not ready gives up (180).")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what Ray says.")] = False,
) -> None:
    """Start an instance and serve until Ctrl-C, SIGTERM or `midstream down`."""
    settings = _settings(
        host=host,
        port=port,
        data_dir=data_dir,
        database=database,
        config=config,
        streams_per_actor=streams_per_actor,
        actors_per_node=actors_per_node,
        start_timeout_s=start_timeout,
    )
    if strict:
        settings = settings.strict()
    plan = InstancePlan(settings, load_config(settings.config), address=address, is_verbose=verbose)
    directory = DataDirectory(settings.data_path)
    directory.create()
    if detach:
        start_in_background(plan, directory)
        return
    directory.acquire()
    try:
        _run(plan, directory)
    finally:
        directory.release()


@app.command()
def down(data_dir: DataDir = None) -> None:
    """Stop the instance of a data directory: drain it, then end every process of its own."""
    print(stop_instance(DataDirectory(_settings(data_dir=data_dir).data_path)))


@app.command()
def env(
    data_dir: DataDir = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="What `ray start` needs on each node of a cluster.")
    ] = False,
) -> None:
    """Print what reaches the running instance, for eval "$(midstream env)"."""
    settings = _settings(data_dir=data_dir)
    directory = DataDirectory(settings.data_path)
    if ray:
        _print_ray_variables(settings, directory)
        return
    note, keys = directory.read_note(), directory.kept_keys()
    if note is None or keys is None or not note.process.is_alive():
        raise InstanceError(f"No instance runs in {directory.path}: start one with `midstream up`.")
    print(
        f"export MIDSTREAM_URL={note.url} MIDSTREAM_API_KEY={keys.demo} "
        f"MIDSTREAM_ADMIN_KEY={keys.admin}"
    )


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where to; it must not exist yet.")],
    data_dir: DataDir = None,
    database: Database = None,
) -> None:
    """Copy the store, while the instance runs or not."""
    print(back_up_store(_settings(data_dir=data_dir, database=database), file))


@app.command()
def restore(
    file: Annotated[
        Path | None, typer.Argument(help="A backup; none after pg_restore did it.")
    ] = None,
    data_dir: DataDir = None,
    database: Database = None,
    give_back: Annotated[
        bool, typer.Option("--give-back", help="Give back what is held since a restore instead.")
    ] = False,
) -> None:
    """Put a backup in the place of the store of an instance that is stopped."""
    settings = _settings(data_dir=data_dir, database=database)
    directory = DataDirectory(settings.data_path)
    directory.create()
    if give_back:
        if file is not None:
            raise InstanceError("--give-back takes no file: it is about the store that is there.")
        lines = give_back_unresolved(settings, directory)
    else:
        lines = restore_store(settings, directory, file)
    for line in lines:
        print(plain(line))


cli_remote.register(app)
cli_load.register(app)


def main() -> None:
    """Run the command line; turn what is the operator's to mend into one sentence."""
    try:
        app()
    except (InstanceError, RemoteError) as error:
        _fail(str(error), error.exit_code)
    except (SettingsError, ConfigError) as error:
        _fail(str(error), 2)
    except BrokenPipeError:
        # Whoever read our output has enough; the interpreter's own flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


class _PlainFormatter(logging.Formatter):
    """Whoever reads the log does it on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


def _settings(**changes: object) -> Settings:
    settings = Settings.from_environment(os.environ).with_changes(**changes)
    return settings.with_changes(data_dir=str(settings.data_path.absolute()))


def _print_ray_variables(settings: Settings, directory: DataDirectory) -> None:
    directory.create()
    launcher = write_launcher(directory.path) if settings.proxy == "haproxy" else None
    own = node_environment(settings, folder=directory.haproxy_path(), launcher=launcher)
    variables = serve_environment(settings) | own
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def _run(plan: InstancePlan, directory: DataDirectory) -> None:
    """Run the instance here; its own words go to the terminal, everybody else's into the log."""
    output = Output.shared() if plan.is_verbose else Output.apart(directory.log_path)
    logging.basicConfig(level=logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_PlainFormatter("%(asctime)s %(name)s: %(message)s"))
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        instance = Instance(
            plan,
            directory,
            os.environ,
            on_step=lambda seconds, step: progress(seconds, step, output),
        )
        instance.run(lambda ready: welcome(ready, output))
    except RuntimeLost as lost:
        print(f"midstream: {plain(str(lost))}", file=output.err, flush=True)
        directory.release()
        os._exit(lost.exit_code)  # What Ray does at an end in order may wait for ever.
    except (InstanceError, ConfigError) as error:
        print(f"midstream: {plain(str(error))}", file=output.err)
        raise SystemExit(getattr(error, "exit_code", 2)) from error
    except Exception as error:
        where = "" if plan.is_verbose else f" See {directory.log_path}."
        said = plain(str(error))
        print(f"midstream: it broke: {type(error).__name__}: {said}.{where}", file=output.err)
        raise


def _fail(message: str, exit_code: int) -> None:
    print(f"midstream: {plain(message)}", file=sys.stderr)
    raise SystemExit(exit_code)


if __name__ == "__main__":
    main()
