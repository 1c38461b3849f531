"""The commands that ask a running instance over HTTP: completions, keys, credits, the audit."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any
from urllib.parse import quote

import typer

from serve_app.cli.remote import Remote, RemoteError
from serve_app.cli.tables import print_table

__all__ = ["register"]

_TERMINAL = ("completed", "failed", "cancelled")

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke the keys of teams.")
credits = typer.Typer(no_args_is_help=True, help="Give credits to teams, and show what they have.")

Name = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the name its client gave it.")]
Team = Annotated[str | None, typer.Option(help="Only this team's.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("ps")(ps)
    app.command("tail")(tail)
    app.command("cancel")(cancel)
    app.command("audit")(audit)
    app.add_typer(keys, name="keys")
    app.add_typer(credits, name="credits")


def ps(
    every: Annotated[bool, typer.Option("--all", "-a", help="Those that ended, too.")] = False,
    team: Team = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    status: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
) -> None:
    """List the completions that run, newest first."""
    remote = Remote(os.environ)
    rows: Iterable[dict[str, Any]] = remote.completions(team=team, model=model, status=status)
    if not (every or status):
        rows = (row for row in rows if row["status"] not in _TERMINAL)
    now_s = time.time()
    print_table(
        (
            "ID",
            "NAME",
            "TEAM",
            "MODEL",
            "STATUS",
            "#TOKENS",
            "#CREDITS",
            "#READERS",
            "#PID",
            "#SHARED",
            "#AGE",
        ),
        [_completion_cells(row, now_s) for row in rows],
    )


def tail(
    name: Name, after: Annotated[int, typer.Option(help="Begin behind this sequence number.")] = -1
) -> None:
    """Write a completion's text as it comes, from its beginning; say on standard error how it ended."""
    remote = Remote(os.environ)
    for event in remote.events(remote.runtime_id(name), after=after):
        kind = event.get("type")
        if kind in ("text", "refusal"):
            print(event["text"], end="", flush=True)
        elif kind == "call":
            print(f"\n[{event['name']}] ", end="", flush=True)
        elif kind == "arguments":
            print(event["arguments"], end="", flush=True)
        elif kind == "end":
            print(flush=True)
            print(_ending(event), file=sys.stderr)


def cancel(
    name: Annotated[str | None, typer.Argument(metavar="ID", help="As `tail` has it.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="A=B", help="Not there yet.")] = None,
) -> None:
    """Cancel a completion; answer when it is settled."""
    if tag is not None:
        raise RemoteError("Cancelling by tag is not there yet: name one ID.", exit_code=2)
    if name is None:
        raise RemoteError("Name the completion to cancel; `midstream ps` lists them.", exit_code=2)
    remote = Remote(os.environ)
    path = f"/admin/v1/completions/{remote.runtime_id(name)}/cancel"
    for line in _receipt(remote.call("POST", path)):
        print(line)


def audit() -> None:
    """Check every account against its entries, every hold against its resolution; say what nobody paid."""
    result = Remote(os.environ).call("GET", "/admin/v1/ledger/audit")
    absorbed = result.pop("absorbed", [])
    for name, value in result.items():
        print(f"{name}\t{value}")
    if absorbed:
        print_table(
            ("ABSORBED", "MODEL", "REASON", "#COMPLETIONS", "#CREDITS"),
            [
                (
                    row["team"],
                    row["model"],
                    row["reason"],
                    str(row["completions"]),
                    f"{row['absorbed_microcredits'] / 1_000_000:.6f}",
                )
                for row in absorbed
            ],
        )
    if result.get("ok") is False:
        raise RemoteError("The ledger does not balance.")


@keys.command("create")
def create_key(
    team: str,
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    organization: Annotated[
        str | None, typer.Option(help="Make the team in it first, if there is none.")
    ] = None,
) -> None:
    """Make a key for a team, and show it: this once."""
    remote = Remote(os.environ)
    if organization is not None:
        body = {"team": team, "organization": organization}
        remote.call("POST", "/admin/v1/teams", json=body)
    key = remote.call("POST", f"/admin/v1/teams/{quote(team, safe='')}/keys", json={"name": name})
    print(f"key_id\t{key['key_id']}\nkey\t{key['key']}")


@keys.command("list")
def list_keys(team: Team = None) -> None:
    """List the keys, never the secrets."""
    query = {"team": team} if team else {}
    rows = Remote(os.environ).call("GET", "/admin/v1/keys", params=query)["data"]
    print_table(
        ("KEY_ID", "TEAM", "NAME", "CREATED", "REVOKED"),
        [
            (
                row["key_id"],
                row["team"],
                row["name"] or "-",
                _date(row["created_at"]),
                _date(row["revoked_at"]),
            )
            for row in rows
        ],
    )


@keys.command("revoke")
def revoke_key(key_id: str) -> None:
    """Revoke a key: what it started goes on, but it starts nothing more."""
    Remote(os.environ).call("DELETE", f"/admin/v1/keys/{quote(key_id, safe='')}")
    print(f"{key_id} is revoked.")


@credits.command("grant")
def grant_credits(
    team: str,
    amount: str,
    key: Annotated[
        str | None, typer.Option(help="The same grant with the same key again moves nothing.")
    ] = None,
) -> None:
    """Add credits to a team's account."""
    path = f"/admin/v1/teams/{quote(team, safe='')}/credits"
    headers = {} if key is None else {"Idempotency-Key": key}
    body = {"amount": _amount(amount)}
    _print_balance(Remote(os.environ).call("POST", path, json=body, headers=headers))


@credits.command("show")
def show_credits(
    team: Annotated[
        str | None, typer.Argument(help="A team, by the admin key; else that of MIDSTREAM_API_KEY.")
    ] = None,
) -> None:
    """Show what a team has, what is held for its running completions, and the difference."""
    if team is None:
        _print_balance(Remote(os.environ, is_admin=False).call("GET", "/v1/balance"))
    else:
        path = f"/admin/v1/teams/{quote(team, safe='')}/credits"
        _print_balance(Remote(os.environ).call("GET", path))


def _completion_cells(row: dict[str, Any], now_s: float) -> tuple[str, ...]:
    return (
        row["id"],
        row["wire_id"] if row["wire_id"] != row["id"] else "-",
        row["team"],
        row["model"],
        row["status"],
        str(row["tokens_output"]),
        f"{row['credits']:.6f}",
        str(row["readers"]),
        str(row["pid"] or "-"),
        str(row["shared_with"] or "-"),
        _age(now_s - row["created_at"]),
    )


def _receipt(detail: dict[str, Any]) -> list[str]:
    """Say what a cancel did. It may have come too late: then the completion ended by itself."""
    charged, held = detail["credits"], detail["hold_credits"]
    lines = [
        f"{detail['status']}\t{detail['id']}",
        f"tokens\t{detail['tokens_output']}",
        f"charged\t{charged:.6f} credits of {held:.6f} held; {held - charged:.6f} released",
    ]
    receipt = detail["receipt"]
    if receipt is not None:
        lines.append(f"source\t{receipt['source']}")
        closed_at = receipt["upstream_closed_at"]
        if closed_at is not None:
            lag_ms = max(0.0, closed_at - receipt["requested_at"]) * 1_000
            lines.append(f"upstream\tclosed {lag_ms:.1f} ms after the request")
    return lines


def _ending(event: dict[str, Any]) -> str:
    usage, charge = event["usage"], event["charge"]
    parts = ("input_microcredits", "output_microcredits", "reasoning_microcredits")
    charged = sum(charge[part] for part in parts) / 1_000_000
    why = event["source"] or event["finish_reason"]
    if event["error"]:
        why = event["error"]["message"]
    return (
        f"[{event['status']}: {why}; {usage['prompt_tokens']} prompt and "
        f"{usage['completion_tokens']} completion tokens, {charged:.6f} credits]"
    )


def _print_balance(balance: dict[str, Any]) -> None:
    has, held = balance["credits"], balance["held_credits"]
    free = balance["available_credits"]
    if "team" in balance:
        print(f"team\t\t{balance['team']}")
    print(f"credits\t\t{has:.6f}")
    print(f"held\t\t{held:.6f}")
    print(f"available\t{free:.6f} = {has:.6f} - {held:.6f}")


def _amount(text: str) -> float:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0 or round(amount, 6) != amount:
        raise RemoteError("The amount must be above 0, with at most six decimals.", exit_code=2)
    return float(amount)


def _date(at_s: float | None) -> str:
    return "-" if at_s is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))


def _age(age_s: float) -> str:
    seconds = max(0, int(age_s))
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3_600:
        return f"{seconds // 60}m{seconds % 60:02}s"
    return f"{seconds // 3_600}h{seconds % 3_600 // 60:02}m"
