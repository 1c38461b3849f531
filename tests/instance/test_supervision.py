"""What is done about what dies of what an instance runs on; how it is found dead; and the stand-in's text.

That it is done to real processes, `tests/ray` and `tests/instance/haproxy` show.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from serve_app.instance import haproxy_stand_in
from serve_app.instance.haproxy_stand_in import standing_in, start_stand_in
from serve_app.instance.processes import is_nobody_there
from serve_app.instance.supervision import Measure, Part, RuntimeLost, Supervisor
from serve_app.instance.watching import Again, Watch

BRING_BACK, GIVE_UP = Measure.BRING_BACK, Measure.GIVE_UP
FULL = (Path(__file__).parent / "haproxy" / "full.cfg").read_text("utf-8")
EARLY = (Path(__file__).parent / "haproxy" / "early.cfg").read_text("utf-8")


def seen(supervisor: Supervisor, *looks: tuple[float, set[Part]]) -> list[object]:
    return [supervisor.look(gone, now_s) for now_s, gone in looks]


@pytest.mark.parametrize("part", [Part.RAYLET, Part.GCS])
def test_what_nothing_runs_without_is_given_up_in_a_moment(part: Part) -> None:
    looks = ((0.0, set[Part]()), (1.0, {part}), (1.5, {part}), (2.0, {part}))
    found = seen(Supervisor(is_private=True), *looks)
    assert found == [None, None, None, (GIVE_UP, part)]


def test_what_was_gone_for_a_moment_is_not_given_up() -> None:
    gcs = {Part.GCS}
    looks = ((0.0, gcs), (0.9, gcs), (1.0, set[Part]()), (1.1, gcs), (2.0, gcs), (2.1, gcs))
    found = seen(Supervisor(is_private=True), *looks)
    assert found == [None] * 5 + [(GIVE_UP, Part.GCS)]


def test_a_gcs_that_others_keep_may_be_started_again() -> None:
    gcs = {Part.GCS}
    found = seen(Supervisor(is_private=False), (0.0, gcs), (4.9, gcs), (5.0, gcs))
    assert found == [None, None, (GIVE_UP, Part.GCS)]


def test_a_proxy_is_brought_back_at_once_and_then_ever_more_seldom() -> None:
    supervisor = Supervisor(is_private=True)
    proxy, well = {Part.PROXY}, set[Part]()
    times = [number / 4 for number in range(200)]
    tried = [now_s for now_s in times if supervisor.look(proxy, now_s) == (BRING_BACK, Part.PROXY)]
    assert tried == [0.0, 1.0, 3.0, 7.0, 15.0, 23.0, 31.0, 39.0, 47.0]
    assert seen(supervisor, (56.0, well), (100.0, well), (100.1, proxy), (101.1, proxy)) == [
        *(None, None),
        *[(BRING_BACK, Part.PROXY)] * 2,
    ]


def test_a_proxy_is_not_brought_back_to_a_ray_that_is_gone() -> None:
    both = {Part.PROXY, Part.RAYLET}
    found = seen(Supervisor(is_private=True), (0.0, {Part.RAYLET}), (1.0, both))
    assert found == [None, (GIVE_UP, Part.RAYLET)]


class Bench:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.gone: set[int] = set()
        self.brought_back = 0
        self.fails = False
        self.watch = Watch(
            {Part.PROXY: ("here", 1), Part.RAYLET: ("here", 2), Part.GCS: ("there", 3)},
            is_private=True,
            bring_back=self._bring_back,
            is_gone=lambda address: address[1] in self.gone,
            now_s=lambda: self.now_s,
        )

    def _bring_back(self) -> None:
        self.brought_back += 1
        if self.fails:
            raise OSError("no such file")


def test_what_is_decided_is_done_and_a_failure_is_tried_again() -> None:
    bench = Bench()
    bench.watch.look()
    bench.gone, bench.fails = {1}, True
    bench.watch.look()
    bench.now_s = 1.0
    bench.watch.look()
    assert bench.brought_back == 2


def test_the_end_is_told_in_one_sentence_with_a_code_of_its_own() -> None:
    bench = Bench()
    bench.gone = {3}
    bench.watch.look()
    bench.now_s = 1.0
    with pytest.raises(
        RuntimeLost, match=r"^Ray's GCS at there:3 is gone, .*next start\.$"
    ) as lost:
        bench.watch.look()
    assert lost.value.exit_code == 3


def test_who_listens_is_there_whether_it_answers_or_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert not is_nobody_there(address)
    assert is_nobody_there(address)
    assert not is_nobody_there(("256.0.0.1", 1)), "what cannot be told is not taken for gone"


def test_what_is_done_again_is_not_stopped_by_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    done, has_failed = threading.Event(), threading.Event()

    def work() -> None:
        if not has_failed.is_set():
            has_failed.set()
            raise RuntimeError("made to fail")
        done.set()

    again = Again(work, every_s=0.001)
    assert done.wait(30)
    again.close()
    assert "made to fail" in caplog.text


# The stand-in.


class Process:
    pid = 0

    def __init__(self, arguments: list[str], **_options: object) -> None:
        self.arguments = arguments


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Path]:
    """Start a stand-in that is this test's own process in all but its words; return its configuration."""
    monkeypatch.setattr(haproxy_stand_in.subprocess, "Popen", Process)

    def start() -> Path:
        configuration = tmp_path / "node" / "haproxy.cfg"
        configuration.parent.mkdir(exist_ok=True)
        configuration.write_text(FULL)
        assert start_stand_in(tmp_path / "haproxy", tmp_path) is not None
        return configuration

    return start


def test_a_stand_in_has_all_but_the_socket(runs: Callable[[], Path]) -> None:
    text = runs().with_name("stand-in.cfg").read_text("utf-8")
    assert "stats socket FOLDER/s.sock mode 666" in text
    assert text.replace("s.sock", "admin.sock") == FULL


def test_without_a_configuration_there_is_none(tmp_path: Path) -> None:
    assert start_stand_in(tmp_path / "haproxy", tmp_path) is None
    assert standing_in(tmp_path / "haproxy.cfg") is None


def test_its_successor_begins_with_the_replicas_that_it_had(
    runs: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = runs()
    assert standing_in(configuration) is None, "no such process"
    configuration.with_name("stand-in.pid").write_text("1\n")
    assert standing_in(configuration) is None, "the id is another's"
    own = str(configuration.with_name("stand-in.cfg"))
    monkeypatch.setattr(Path, "read_bytes", lambda _path: f"haproxy\0-f\0{own}\0".encode())
    stand_in = standing_in(configuration)
    assert stand_in is not None
    assert stand_in.pid == 1
    configuration.with_name("stand-in.pid").write_text(f"{os.getpid()}\n")
    assert standing_in(configuration) is None, "a stand-in does not take its own place"
    assert stand_in.text_for(EARLY) == FULL
    assert stand_in.text_for(FULL + "# news") == FULL + "# news"
