"""What becomes of Serve's configuration: the text that Ray 2.60 wrote, rule by rule."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from serve_app.http.proxy_worker import ASK_PATH, HEADER, WorkerName, place
from serve_app.instance.haproxy_config import MARK, PLACES_MAX, rewrite, rewrite_safely
from serve_app.instance.haproxy_errors import ANSWERS, answer_body, answer_file
from serve_app.instance.haproxy_launcher import prepare

FOLDER = Path(__file__).parent
FULL = (FOLDER / "full.cfg").read_text("utf-8")
EARLY = (FOLDER / "early.cfg").read_text("utf-8")


def section(text: str, head: str) -> list[str]:
    """Return the lines of a section, without blanks around them."""
    lines = text.splitlines()
    found = lines[lines.index(head) + 1 :]
    ends = (i for i, line in enumerate(found) if line and not line[0].isspace())
    return [line.strip() for line in found[: next(ends, len(found))]]


@pytest.mark.parametrize("text", [FULL, EARLY], ids=["full", "early"])
def test_figures_and_metrics_are_on_the_loopback_with_few_places(text: str) -> None:
    rewritten = rewrite(text, places=9_000, errors="/e", place="here")
    assert rewritten.warnings == ()
    for head, bind in (
        ("frontend prometheus", "bind 127.0.0.1:9101"),
        ("listen stats", "bind 127.0.0.1:8404"),
    ):
        lines = section(rewritten.text, head)
        assert bind in lines
        assert "maxconn 64" in lines
        assert "timeout client 10s" in lines
        assert sum(line.startswith("bind") for line in lines) == 1


def test_the_socket_is_its_owners_and_heads_have_ten_seconds() -> None:
    text = rewrite(FULL, places=9_000, errors="/e", place="here").text
    sockets = [line for line in section(text, "global") if line.startswith("stats socket")]
    assert sockets == ["stats socket FOLDER/admin.sock mode 600 level admin expose-fd listeners"]
    assert section(text, "defaults").count("timeout http-request 10s") == 1


def test_there_are_places_for_the_figures_when_the_front_is_full() -> None:
    text = rewrite(FULL, places=9_000, errors="/e", place="here").text
    assert "maxconn 9000" in section(text, "global")
    assert "maxconn 8744" in section(text, "frontend http_frontend")
    most = rewrite(FULL, places=10**9, errors="/e", place="here").text
    assert f"maxconn {PLACES_MAX}" in section(most, "global")


def test_each_request_tells_which_worker_carried_it() -> None:
    lines = section(
        rewrite(FULL, places=9_000, errors="/e", place="here").text, "frontend http_frontend"
    )
    assert f'http-request set-header {HEADER} "%pid here"' in lines
    told = [line for line in lines if ASK_PATH in line]
    assert len(told) == 1
    assert told[0].startswith("http-request return status 200 ")
    assert WorkerName.read(f"12 {place()}") == WorkerName(12, place())


def test_what_it_answers_itself_is_json_with_its_true_status() -> None:
    text = rewrite(FULL, places=9_000, errors="/e", place="here").text
    files = [line for line in section(text, "defaults") if line.startswith("errorfile")]
    assert files == [f"errorfile {status} /e/{status}.http" for status in ANSWERS]
    assert "text/plain" not in "".join(section(text, "backend default_backend"))
    assert section(text, "backend default_backend") == [
        "http-request return status 404 content-type application/json file /e/404.json"
    ]
    health = [line for line in section(text, "frontend http_frontend") if "status 503" in line]
    assert health == [
        "http-request return status 503 content-type application/json file /e/503.json"
        " hdr Retry-After 1 if healthcheck"
    ]


def test_while_no_replica_is_known_nothing_is_missing_but_time() -> None:
    text = rewrite(EARLY, places=9_000, errors="/e", place="here").text
    assert section(text, "backend default_backend") == [
        "http-request return status 503 content-type application/json file /e/503.json"
        " hdr Retry-After 1"
    ]
    assert "monitor fail if TRUE" in section(text, "listen stats")


def test_the_rest_stays_as_it_was() -> None:
    before = {line.strip() for line in FULL.splitlines()}
    after = {
        line.strip()
        for line in rewrite(FULL, places=9_000, errors="/e", place="here").text.splitlines()
    }
    gone = before - after
    assert {line.split()[0] for line in gone} == {
        *("stats", "maxconn", "option", "errorfile", "bind", "http-request")
    }
    assert {line for line in gone if line.startswith("option")} == {
        *("option splice-request", "option splice-response")
    }
    assert (
        "server r1 127.0.0.1:30000 check observe layer4 error-limit 3 on-error mark-down" in after
    )


def test_what_was_rewritten_is_left_alone() -> None:
    once = rewrite(FULL, places=9_000, errors="/e", place="here").text
    assert once.startswith(MARK)
    assert rewrite(once, places=100, errors="/other", place="x").text == once


def test_a_text_of_another_version_loses_rights_alone_and_that_is_said() -> None:
    other = (
        "global\n  stats socket /s level admin mode 0666\nlisten stats\n  bind [::]:8404 v4v6\n"
        "frontend web\n  bind *:80\n"
    )
    safe = rewrite_safely(other).text
    assert "stats socket /s mode 600 level admin" in safe
    assert "bind 127.0.0.1:8404 v4v6" in safe
    assert "bind *:80" in safe, "what is not known is not touched"
    warnings = rewrite(other, places=9_000, errors="/e", place="here").warnings
    assert any("frontend http_frontend" in warning for warning in warnings)
    assert any("maxconn" in warning for warning in warnings)


def test_a_configuration_that_haproxy_does_not_take_is_not_run(tmp_path: Path) -> None:
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(FULL)
    tried: list[str] = []

    def accepts(path: Path) -> bool:
        tried.append(path.read_text("utf-8"))
        return "errorfile 400" not in tried[-1]

    assert prepare(configuration, accepts=accepts)
    assert configuration.read_text("utf-8") == rewrite_safely(FULL).text
    assert "mode 600" in configuration.read_text("utf-8")

    configuration.write_text(FULL)
    assert prepare(configuration, accepts=lambda _path: False)
    assert configuration.read_text("utf-8") == FULL
    assert stat.S_IMODE((tmp_path / "errors").stat().st_mode) == 0o700


@pytest.mark.parametrize("status", ANSWERS)
def test_every_answer_is_an_error_of_all_dialects(status: int) -> None:
    body = json.loads(answer_body(status))
    assert body["type"] == "error"
    assert {"type", "code", "message"} <= set(body["error"])
    head, _, content = answer_file(status).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert f"Content-Length: {len(content)}".encode() in head
    assert (b"Retry-After" in head) == (status in (502, 503, 504))
    assert json.loads(content) == body
