"""What an instance asks of its store before it starts anything, and how it knows which one it had."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from actors.ledger.store import StoreUnavailable
from actors.settings import Settings
from serve_app.instance import preflight
from serve_app.instance.data_directory import DataDirectory, InstanceError
from serve_app.instance.preflight import check_store


def _settings(path: Path, **changes: object) -> Settings:
    return Settings().with_changes(data_dir=str(path), **changes)


def test_a_store_that_is_gone_beside_what_an_earlier_start_left_is_a_refusal(
    tmp_path: Path,
) -> None:
    directory, settings = DataDirectory(tmp_path), _settings(tmp_path)
    first = directory.cluster()
    directory.keys({})
    assert not first.knows_store("")
    check_store(settings, first)
    # Before an instance has worked with it, a store that is not there is one to make.
    (tmp_path / "midstream.db").unlink()
    check_store(settings, directory.cluster())
    directory.note_store("")
    check_store(settings, directory.cluster())
    for name in ("midstream.db", "midstream.db-wal", "midstream.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(InstanceError, match="is empty, and this instance had one before") as caught:
        check_store(settings, directory.cluster())
    assert caught.value.exit_code == 2
    assert directory.cluster().name == first.name


def test_an_empty_file_beside_the_keys_of_an_earlier_release_is_a_refusal(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.keys({})
    (tmp_path / "midstream.db").touch()
    with pytest.raises(InstanceError, match="is empty"):
        check_store(_settings(tmp_path), directory.cluster())


def test_a_database_is_known_without_its_password(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.cluster()
    directory.note_store("postgresql://user:pass@host/one")
    assert directory.cluster().knows_store("postgresql://other:word@host/one")
    assert not directory.cluster().knows_store("postgresql://user:pass@host/two")
    assert "pass" not in (tmp_path / "cluster.json").read_text()
    check_store(_settings(tmp_path, database="postgresql://nowhere/one"), directory.cluster())


def test_what_was_not_looked_through_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(preflight, "check_sound", lambda _store: False)
    with caplog.at_level(logging.WARNING):
        check_store(_settings(tmp_path), DataDirectory(tmp_path).cluster())
    assert "was not looked through to its end" in caplog.text
    assert issubclass(StoreUnavailable, Exception)
