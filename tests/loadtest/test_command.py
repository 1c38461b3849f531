"""`midstream load` as it is typed: one sentence for every mistake, and a report of a real run.

Method: mistakes in this process, through the command's own entry; runs as a process of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from actors.ports.provider import Provider
from serve_app.cli.main import main
from tests.http.rig import ADMIN_KEY
from tests.loadtest.rigs import Changed, OnOpen, Target, Wrap, one_token_more, target
from tests.support.instance import within

URL = "http://127.0.0.1:9"


def refusal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str]:
    """Run a command that fails; return its exit code and its one sentence."""
    monkeypatch.setattr(sys, "argv", ["midstream", "load", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, line.removeprefix("midstream: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dialect", "telegraph"], "--dialect must be one of"),
        (["--duration", "soon"], "--duration must be"),
        (["--drain", "soon"], "--drain must be"),
        (["--duration", "5s", "--count", "5"], "either --count or --duration"),
        (["--count", "0"], "--count must be at least 1"),
        (["--streams", "0"], "number of streams"),
        (["--streams", "4", "--rate", "5"], "choose"),
        (["--sweep", "8,1"], "numbers that rise"),
        (["--sweep", "1.5,8"], "whole numbers"),
        (["--sweep", "1,8", "--streams", "4"], "--sweep has the levels"),
        (["--arrivals", "constant"], "needs a --rate"),
        (["--arrivals", "sometimes", "--rate", "5"], "poisson or constant"),
        (["--cancel-fraction", "2"], "between 0 and 1"),
        (["--cancel-after", "later"], "--cancel-after must be"),
        (["--slo", "speed=1s"], "--slo knows"),
        (["--max-tokens", "many"], "--max-tokens must be"),
        (["--html", "/nowhere/at/all.html"], "cannot be written"),
        (["--workers", "1000"], "--workers must be between"),
    ],
)
def test_a_mistake_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    code, sentence = refusal(capsys, monkeypatch, URL, *arguments)
    assert code == 2
    assert words in sentence
    assert sentence.endswith(".")


def test_no_url_and_no_url_that_is_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIDSTREAM_URL", raising=False)
    code, sentence = refusal(capsys, monkeypatch, "--local")
    assert (code, "Name a URL" in sentence) == (2, True)
    code, sentence = refusal(capsys, monkeypatch, "localhost", "--local")
    assert (code, "is not the address of a server" in sentence) == (2, True)


def test_a_server_that_is_not_there_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, sentence = refusal(capsys, monkeypatch, URL, "--local")
    assert (code, "cannot be reached" in sentence) == (1, True)


def ran(folder: Path, wrap: Wrap | None, *arguments: str) -> tuple[int, str, str]:
    """Run the command against the application; return its exit code and what it printed."""

    async def body() -> tuple[int, str, str]:
        async with target(folder, wrap) as server:
            return await ended(await started(server, *arguments))

    return asyncio.run(body())


async def started(server: Target, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "serve_app.cli.main", "load", "--local", *arguments),
        env=environment(server),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    try:
        async with within(60, "the command has ended"):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def environment(server: Target) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MIDSTREAM_", "RAY_"))}
    return {
        **kept,
        "MIDSTREAM_URL": server.url,
        "MIDSTREAM_API_KEY": server.run.key,
        "MIDSTREAM_ADMIN_KEY": ADMIN_KEY,
    }


def test_a_run_prints_its_tables_and_writes_its_files(tmp_path: Path) -> None:
    page, figures = tmp_path / "load.html", tmp_path / "load.json"
    arguments = ["--count", "6", "--streams", "2", "--warmup", "0s", "--max-tokens", "10"]
    arguments += ["--model", "sim-long-instant", "--slo", "ttft=1m"]
    code, out, err = ran(tmp_path, None, *arguments, "--html", str(page), "--json", str(figures))
    assert code == 0, err
    assert "credits while it runs" in err
    lines = [line.split("\t") for line in out.splitlines()]
    load = next(line for line in lines if line[0] == "2")
    assert load[2] == "6" and load[8] == "100.0%"
    truth = lines[-1]
    assert truth[1:] == ["6", "0", "0", "0", "0", "0", "0", "balances"]
    assert json.loads(figures.read_text())["levels"][0]["streams"] == 6
    assert page.read_text().startswith("<!doctype html>")


def test_a_run_that_found_a_fault_says_so_and_fails(tmp_path: Path) -> None:
    arguments = (
        "--count",
        "2",
        "--warmup",
        "0s",
        "--prompt-tokens",
        "100",
        "--model",
        "sim-long-instant",
    )
    code, out, err = ran(tmp_path, lambda provider: Changed(provider, one_token_more), *arguments)
    assert code == 1
    assert err.splitlines()[-1] == (
        "midstream: 2 completions were charged wrongly, by 900 micro-credits in all."
    )
    assert "billing: cmp_" in out


def test_an_interrupt_stops_in_order_and_reports(tmp_path: Path) -> None:
    async def body() -> tuple[int, str, str]:
        asked = asyncio.Event()

        def opened(provider: Provider) -> Provider:
            return OnOpen(provider, at=1, do=asked.set)

        async with target(tmp_path, opened) as server:
            arguments = ("--streams", "1", "--duration", "10m", "--warmup", "0s")
            process = await started(server, *arguments, "--max-tokens", "5")
            await asyncio.wait_for(asked.wait(), 60)
            process.send_signal(signal.SIGINT)
            return await ended(process)

    code, out, err = asyncio.run(body())
    assert code == 1
    assert err.splitlines()[-1] == "midstream: The run was interrupted."
    assert "Against the upstream's own log" in out
