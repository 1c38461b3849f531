"""The benchmark in one process runs to its end and prints a row per figure."""

from __future__ import annotations

import pytest

from tests.benchmarks import one_process


def test_it_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["one_process", "--rounds", "1", "--paced-rounds", "0"])
    one_process.main()
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(",")[0] for row in rows] == ["request", "  of it the loop's thread"] * 2
