"""`midstream load`: what is asked of a server, read from the command line.

Everything that cannot be understood is one sentence and exit code 2, before anything is started. The
load tester itself is imported when the command runs, by `load_run`: no other command needs it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import typer

from actors.core.request import Dialect
from actors.loadtest.arguments import (
    parse_cancel_after,
    parse_duration,
    parse_length,
    parse_levels,
    parse_slo,
)
from actors.loadtest.plan import Arrival, Load, Plan, PlanError
from serve_app.cli.remote import RemoteError

__all__ = ["register"]

_STREAMS = 16
_DURATION = "10s"

_Url = Annotated[
    str | None, typer.Argument(metavar="[URL]", help="The server; MIDSTREAM_URL if not said.")
]
_Dialect = Annotated[str, typer.Option(help="chat, messages, responses or model_response.")]
_Model = Annotated[str, typer.Option(help="The model to ask for.")]
_Streams = Annotated[int | None, typer.Option(help="Closed loop: so many streams at once (16).")]
_Rate = Annotated[
    float | None, typer.Option(help="Open loop: so many starts a second, come what may.")
]
_Arrivals = Annotated[
    str | None, typer.Option(help="Of the open loop: poisson or constant (poisson).")
]
_Sweep = Annotated[
    str | None,
    typer.Option(help="Levels, such as 1,8,64,512, until the knee; rates with --arrivals."),
]
_Duration = Annotated[str | None, typer.Option(help="Of each level: 30s, 2m (10s).")]
_Count = Annotated[int | None, typer.Option(help="Streams of each level, instead.")]
_Warmup = Annotated[str, typer.Option(help="What starts within it is not measured.")]
_Drain = Annotated[str, typer.Option(help="What the last streams may still take.")]
_PromptTokens = Annotated[str, typer.Option(help="Tokens of a prompt: N, or LOW-HIGH.")]
_MaxTokens = Annotated[str, typer.Option(help="Tokens of an answer: N, or LOW-HIGH.")]
_CancelFraction = Annotated[float, typer.Option(help="Of the streams, to cancel.")]
_CancelAfter = Annotated[str, typer.Option(help="Tokens (8), or a time (500ms).")]
_DisconnectFraction = Annotated[float, typer.Option(help="Of the streams, to leave.")]
_ResumeFraction = Annotated[float, typer.Option(help="Of the streams, to leave and take up again.")]
_Observers = Annotated[int, typer.Option(help="Further readers of each stream.")]
_Slo = Annotated[str, typer.Option(help="Limits of a good stream: ttft=200ms,itl=50ms.")]
_Seed = Annotated[int, typer.Option(help="The same seed makes the same streams.")]
_Organization = Annotated[str, typer.Option(help="Of the key; model_response names it.")]
_ApiKeyEnv = Annotated[str, typer.Option(help="The variable that has the key.")]
_Simulator = Annotated[
    str | None, typer.Option(help="Where the upstream's log is, if the server does not say.")
]
_Local = Annotated[bool, typer.Option("--local", help="One process, without Ray.")]
_Address = Annotated[str, typer.Option(help="Workers on this Ray cluster (a private Ray).")]
_Workers = Annotated[int, typer.Option(help="How many (one for each CPU).")]
_JsonFile = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write the figures.")]
_HtmlFile = Annotated[
    str | None, typer.Option("--html", metavar="FILE", help="Write a page with plots.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("load")(load)


def load(
    url: _Url = None,
    dialect: _Dialect = "chat",
    model: _Model = "sim-long",
    streams: _Streams = None,
    rate: _Rate = None,
    arrivals: _Arrivals = None,
    sweep: _Sweep = None,
    duration: _Duration = None,
    count: _Count = None,
    warmup: _Warmup = "1s",
    drain: _Drain = "2m",
    prompt_tokens: _PromptTokens = "16",
    max_tokens: _MaxTokens = "64",
    cancel_fraction: _CancelFraction = 0.0,
    cancel_after: _CancelAfter = "8",
    disconnect_fraction: _DisconnectFraction = 0.0,
    resume_fraction: _ResumeFraction = 0.0,
    observers: _Observers = 0,
    slo: _Slo = "",
    seed: _Seed = 0,
    organization: _Organization = "org_demo",
    api_key_env: _ApiKeyEnv = "MIDSTREAM_API_KEY",
    simulator: _Simulator = None,
    local: _Local = False,
    address: _Address = "",
    workers: _Workers = 0,
    json_file: _JsonFile = None,
    html_file: _HtmlFile = None,
) -> None:
    """Load a server with streams, and hold what it did against the upstream's own log."""
    environment = os.environ
    try:
        levels = parse_levels(sweep) if sweep else None
        plan = Plan(
            url=url or environment.get("MIDSTREAM_URL", ""),
            dialect=_dialect(dialect),
            model=model,
            load=_load(streams, rate, arrivals, levels),
            api_key=environment.get(api_key_env) or None,
            organization=organization,
            count=count or 0,
            duration_s=_duration_s(duration, count),
            warmup_s=parse_duration(warmup, "--warmup"),
            drain_timeout_s=parse_duration(drain, "--drain"),
            prompt_tokens=parse_length(prompt_tokens, "--prompt-tokens"),
            max_tokens=parse_length(max_tokens, "--max-tokens"),
            cancel_fraction=cancel_fraction,
            cancel_after=parse_cancel_after(cancel_after),
            disconnect_fraction=disconnect_fraction,
            resume_fraction=resume_fraction,
            observers=observers,
            seed=seed,
            slo=parse_slo(slo),
        )
        from serve_app.cli import load_run

        where = load_run.Where(
            is_local=local,
            address=address,
            workers=workers,
            simulator_url=simulator,
            admin_key=_admin_key(environment, url),
        )
        load_run.run(plan, levels, where, json_file=json_file, html_file=html_file)
    except PlanError as error:
        raise RemoteError(str(error), exit_code=2) from None


def _dialect(text: str) -> Dialect:
    try:
        return Dialect(text)
    except ValueError:
        known = ", ".join(dialect.value for dialect in Dialect)
        raise PlanError(f"--dialect must be one of {known}, not {text!r}.") from None


def _load(
    streams: int | None, rate: float | None, arrivals: str | None, levels: tuple[float, ...] | None
) -> Load:
    """Return the load, at the first level of a sweep."""
    if arrivals not in (None, Arrival.POISSON, Arrival.CONSTANT):
        raise PlanError(f"--arrivals must be poisson or constant, not {arrivals!r}.")
    if levels and (streams is not None or rate is not None):
        raise PlanError("--sweep has the levels already: leave --streams and --rate out.")
    if streams is not None and (rate is not None or arrivals is not None):
        raise PlanError("--streams is a closed loop, --rate and --arrivals an open one: choose.")
    if arrivals is not None and rate is None and not levels:
        raise PlanError("--arrivals needs a --rate, or a --sweep of rates.")
    if arrivals is None and rate is None:
        return _closed(streams, levels)
    level = levels[0] if levels else rate or 0.0
    return Load(Arrival(arrivals or Arrival.POISSON), rate_per_s=level)


def _closed(streams: int | None, levels: tuple[float, ...] | None) -> Load:
    if levels and any(level != int(level) for level in levels):
        raise PlanError("A --sweep of streams has whole numbers; with --arrivals they are rates.")
    level = int(levels[0]) if levels else _STREAMS if streams is None else streams
    return Load(Arrival.CLOSED, streams=level)


def _duration_s(duration: str | None, count: int | None) -> float:
    if count is None:
        return parse_duration(duration or _DURATION, "--duration")
    if count < 1:
        raise PlanError("--count must be at least 1.")
    return parse_duration(duration, "--duration") if duration else 0.0


def _admin_key(environment: Mapping[str, str], url: str | None) -> str | None:
    """Return the admin key if it is that of the server; it is told to no other."""
    if url is not None and url.rstrip("/") != environment.get("MIDSTREAM_URL", "").rstrip("/"):
        return None
    return environment.get("MIDSTREAM_ADMIN_KEY") or None
