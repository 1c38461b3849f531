"""Goal: no party of `peers` costs another its rounds. Method: parties that fail in every way they can."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import install_peers, peers, peers_tables
from tests.benchmarks.parties import PARTIES
from tests.benchmarks.rounds import Plan
from tests.benchmarks.starting import Broken, Endpoint, Party, Place

BRACKETS = "it said [/ray::x] and [bold] and :100:"
PLAN = Plan(streams=(1,), seconds=0.1, cpu_streams=1, first_tokens=0, terminals=0)


def failing(name: str, error: Exception) -> Party:
    @contextmanager
    def start(_place: Place) -> Iterator[Endpoint]:
        raise error
        yield

    return Party(name, f"{name} [/red] :100:", start)


def run(folder: Path) -> peers._Run:
    return peers._Run(PLAN, 2, 1, 64, 0.0, folder, "http://127.0.0.1:9")


def test_brackets_in_a_partys_error_end_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "figures.json"
    measured = run(tmp_path)
    measured.results["fine"] = {"rate/1": {0: 10.0}}
    measured.on_measured = lambda: peers._keep(kept, measured, {}, 0.1)
    parties = [
        failing("bracketed", Broken(BRACKETS)),
        failing("foreign", ValueError(BRACKETS)),
        failing("unreachable", OSError("no such [host]")),
    ]
    measured.perform(parties)
    assert len(measured.broken) == 6
    assert BRACKETS in capsys.readouterr().err
    assert json.loads(kept.read_text())["parties"]["fine"] == {"rate/1": {"0": 10.0}}

    fine = replace(parties[0], name="fine")
    absent = replace(parties[0], name="absent")
    peers_tables.print_tables(
        [*parties, fine, absent], measured.results, PLAN, {"absent": "not [here]"}, 0.1
    )
    shown = capsys.readouterr().out
    assert "bracketed [/red] :100:" in shown
    assert "not [here]" in shown


def test_what_was_not_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDSTREAM_PEERS", str(tmp_path))
    monkeypatch.delenv("LITELLM", raising=False)
    for name in install_peers.PEERS:
        assert PARTIES[name].missing() == "not installed"

    def unpack(folder: Path) -> None:
        (folder / "half").write_text("of it")
        raise OSError("there is no space")

    monkeypatch.setitem(install_peers.PEERS, "nginx", ("usr/sbin/nginx", unpack))
    assert install_peers.install("nginx") == "OSError: there is no space"
    assert PARTIES["nginx"].missing() == "not installable: OSError: there is no space"
    assert [entry.name for entry in (tmp_path / "nginx").iterdir()] == ["failed.txt"]


def test_a_package_without_its_command_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDSTREAM_PEERS", str(tmp_path))
    monkeypatch.setitem(install_peers.PEERS, "smg", ("bin/smg", lambda folder: None))
    assert install_peers.install("smg") == "bin/smg is not in it"
    assert PARTIES["smg"].missing() == "not installable: bin/smg is not in it"
