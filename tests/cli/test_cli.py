"""The command line without Ray: what `up` refuses in one sentence, and what the other commands print.

Goal: every mistake of an operator's is one sentence and exit code 2, told before anything starts.
Method: the command is run as a process. The commands that ask an instance are run against the
application on a socket, in this process.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from actors.settings import Settings
from serve_app.instance.data_directory import DataDirectory, InstanceError, InstanceNote, Keys
from serve_app.instance.preflight import check_no_other_ray
from serve_app.instance.processes import identify
from tests.http.rig import ADMIN_KEY, Rig, chat_body, rig, until
from tests.support.ports import free_port

COMMAND = [sys.executable, "-m", "serve_app.cli.main"]


def environment(**variables: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MIDSTREAM_", "RAY_"))}
    return kept | variables


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refusal(*arguments: str, **variables: str) -> str:
    """Run a command that the operator got wrong; return its one sentence."""
    done = run(*arguments, **variables)
    assert done.returncode == 2, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0].removeprefix("midstream: ")


@pytest.fixture
def data_dir(tmp_path: Path) -> str:
    return str(tmp_path / "data")


@pytest.fixture
def free() -> int:
    return free_port()


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield int(listener.getsockname()[1])


# What `up` refuses.


def test_a_taken_port_and_who_holds_it(data_dir: str, taken: int) -> None:
    said = refusal("up", "--data-dir", data_dir, "--port", str(taken))
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert said == (
        f"Port {taken} is held by process {os.getpid()} ({name}): choose another with --port."
    )


@pytest.mark.parametrize("name", ["MIDSTREAM_HAPROXY_STATS_PORT", "MIDSTREAM_HAPROXY_METRICS_PORT"])
def test_haproxys_other_ports_are_looked_at_too(
    data_dir: str, free: int, taken: int, name: str
) -> None:
    ports = {
        "MIDSTREAM_HAPROXY_STATS_PORT": str(free),
        "MIDSTREAM_HAPROXY_METRICS_PORT": str(free),
        name: str(taken),
    }
    said = refusal("up", "--data-dir", data_dir, "--port", str(free), **ports)
    assert f"Port {taken} is held by process {os.getpid()} " in said
    assert said.endswith(f"choose another for HAProxy with {name}.")


def test_behind_the_python_proxy_nobody_needs_haproxys_ports(
    data_dir: str, free: int, taken: int
) -> None:
    said = refusal(
        "up",
        "--data-dir",
        data_dir,
        "--port",
        str(free),
        MIDSTREAM_PROXY="python",
        MIDSTREAM_HAPROXY_STATS_PORT=str(taken),
        MIDSTREAM_OBJECT_STORE_BYTES=str(1 << 49),
    )
    assert "/dev/shm" in said


def test_a_data_directory_that_is_in_use(data_dir: str, free: int) -> None:
    directory = DataDirectory(Path(data_dir))
    directory.create()
    directory.acquire()
    process = identify(os.getpid())
    assert process is not None
    directory.write_note(
        InstanceNote(process.pid, process.started_at_s, "127.0.0.1", 8123, "mark", 10.0)
    )
    try:
        said = refusal("up", "--data-dir", data_dir, "--port", str(free))
    finally:
        directory.release()
    assert said == (
        f"The data directory {data_dir} is in use by process {os.getpid()} "
        f"(http://127.0.0.1:8123): stop that instance with `midstream down --data-dir {data_dir}` "
        "first."
    )


def test_ray_that_the_environment_names(data_dir: str, free: int) -> None:
    said = refusal("up", "--data-dir", data_dir, "--port", str(free), RAY_ADDRESS="10.0.0.1:6379")
    assert said == (
        "RAY_ADDRESS names a Ray cluster: use --address 10.0.0.1:6379 to join it, or unset it."
    )


def test_ray_that_runs_on_this_machine(tmp_path: Path, taken: int, free: int) -> None:
    """Ray's address file stays behind when Ray is gone, so that somebody must answer there."""
    address_file = tmp_path / "ray" / "ray_current_cluster"
    address_file.parent.mkdir()
    check_no_other_ray({}, tmp_path)
    address_file.write_text(f"127.0.0.1:{free}")
    check_no_other_ray({}, tmp_path)
    address_file.write_text(f"127.0.0.1:{taken}\n")
    with pytest.raises(InstanceError) as raised:
        check_no_other_ray({}, tmp_path)
    assert str(raised.value) == (
        f"Ray is already running on this machine, at 127.0.0.1:{taken}: "
        f"use --address 127.0.0.1:{taken} to join it, or stop it first."
    )


def test_shared_memory_that_is_too_small(data_dir: str, free: int) -> None:
    said = refusal(
        "up",
        "--data-dir",
        data_dir,
        "--port",
        str(free),
        MIDSTREAM_PROXY="python",
        MIDSTREAM_OBJECT_STORE_BYTES=str(1 << 49),
    )
    assert re.fullmatch(
        r"/dev/shm has \d+ MiB free where Ray's object store needs 536870912 MiB: enlarge it "
        r"\(docker run --shm-size\), or set MIDSTREAM_OBJECT_STORE_BYTES to less\.",
        said,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("modelz: {}", "modelz: "),
        ("providers: {x: {base_uri: 'http://a'}}", "providers.x.base_url: "),
        ("models: {m: {provider: nobody, upstream_model: u}}", "models.m.provider names no"),
        ("aliases: {a: nothing}", "aliases"),
        ("{", "is not valid YAML."),
    ],
)
def test_a_configuration_that_is_wrong(
    tmp_path: Path, data_dir: str, free: int, text: str, expected: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    said = refusal("up", "--data-dir", data_dir, "--port", str(free), "--config", str(file))
    assert expected in said


def test_a_configuration_that_is_not_there(data_dir: str) -> None:
    said = refusal("up", "--data-dir", data_dir, "--config", "/nowhere.yaml")
    assert said == "/nowhere.yaml cannot be read: No such file or directory."


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (("--port", "70000"), {}, "port must be at most 65535, not 70000."),
        (("--port", "0"), {}, "port must be above 0 and finite, not 0."),
        (
            ("--streams-per-actor", "-1"),
            {},
            "streams_per_actor must be above 0 and finite, not -1.",
        ),
        (("--start-timeout", "0"), {}, "start_timeout_s must be above 0 and finite, not 0."),
        (
            (),
            {"MIDSTREAM_WORKER_NICENESS": "20"},
            "worker_niceness must be 0 to 19, not 20.",
        ),
        ((), {"MIDSTREAM_PORT": "http"}, "MIDSTREAM_PORT must be a number, not 'http'."),
        ((), {"MIDSTREAM_PROXY": "nginx"}, "proxy must be haproxy or python, not 'nginx'."),
        (("--host", "nowhere.invalid"), {}, "nowhere.invalid is not an address"),
        (("--host", "198.51.100.1"), {}, "198.51.100.1 cannot be listened on"),
        ((), {"MIDSTREAM_DEMO_KEY": "short"}, "MIDSTREAM_DEMO_KEY must have at least 8"),
        (
            (),
            {"MIDSTREAM_ADMIN_KEY": "a key with blanks"},
            "MIDSTREAM_ADMIN_KEY must have no blank",
        ),
    ],
)
def test_values_that_cannot_be_used(
    data_dir: str, arguments: tuple[str, ...], variables: dict[str, str], expected: str
) -> None:
    assert refusal("up", "--data-dir", data_dir, *arguments, **variables).startswith(expected)


def test_a_data_directory_that_cannot_be_made() -> None:
    assert "/proc/nowhere cannot be made" in refusal("up", "--data-dir", "/proc/nowhere")


def test_a_flag_that_is_not_there_is_the_operators_mistake() -> None:
    done = run("up", "--bogus")
    assert (done.returncode, done.stdout) == (2, "")


# What the others say where nothing runs.


def test_no_instance_runs(data_dir: str) -> None:
    said = refusal("env", "--data-dir", data_dir)
    assert said == f"No instance runs in {data_dir}: start one with `midstream up`."
    done = run("down", "--data-dir", data_dir)
    assert (done.returncode, done.stdout) == (0, f"No instance runs in {data_dir}.\n")


def test_a_recycled_process_id_is_nobodys_instance(data_dir: str) -> None:
    """The note names this test's process, but one that started at another time: it must survive."""
    directory = DataDirectory(Path(data_dir))
    directory.create()
    directory.keys({})
    directory.write_note(InstanceNote(os.getpid(), 1, "127.0.0.1", 8123, "no-such-mark", 10.0))
    refusal("env", "--data-dir", data_dir)
    done = run("down", "--data-dir", data_dir)
    assert done.returncode == 0
    assert "cleaned up after one that was killed" in done.stdout
    assert directory.read_note() is None


@pytest.mark.parametrize("arguments", [("ps",), ("tail", "x"), ("cancel", "x"), ("audit",)])
def test_commands_that_ask_need_to_know_whom(arguments: tuple[str, ...]) -> None:
    expected = 'MIDSTREAM_URL is not set: run eval "$(midstream env)" first.'
    assert refusal(*arguments) == expected


def test_nobody_answers(free: int) -> None:
    url = f"http://127.0.0.1:{free}"
    done = run("ps", MIDSTREAM_URL=url, MIDSTREAM_ADMIN_KEY="key-of-nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"midstream: {url} cannot be reached: ")


def test_what_is_not_there_yet() -> None:
    assert "not there yet" in refusal("cancel", "--tag", "a=b")


# Keys and notes.


def test_keys_are_made_once_kept_private_and_preset_by_the_environment(data_dir: str) -> None:
    directory = DataDirectory(Path(data_dir))
    directory.create()
    first = directory.keys({})
    assert re.fullmatch("al_live_[0-9a-f]{64}", first.demo)
    assert directory.keys({}) == first
    preset = directory.keys({"MIDSTREAM_DEMO_KEY": "al_live_preset"})
    assert preset == Keys("al_live_preset", first.admin)
    assert directory.kept_keys() == preset
    assert directory.ray_token_path().read_text() == directory.ray_token_path().read_text()
    for file in directory.path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    assert directory.path.stat().st_mode & 0o077 == 0


def test_a_long_path_gets_a_short_directory_for_sockets(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / ("deep" * 10))
    directory.create()
    path = directory.runtime_path()
    assert len(str(path)) <= 26
    (path / "ray").mkdir()
    assert directory.runtime_path() == path
    assert list(path.iterdir()) == []
    directory.clear_runtime()
    assert not path.exists()


def test_an_instance_on_every_address_is_reached_by_loopback() -> None:
    note = InstanceNote(1, 1, "0.0.0.0", 8000, "mark", 10.0)
    assert note.url == "http://127.0.0.1:8000"
    assert InstanceNote(1, 1, "::", 8000, "mark", 10.0).url == "http://[::1]:8000"
    assert Settings().host == "127.0.0.1"


# What the commands print that ask an instance.


async def ask(url: str, key: str, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        env=environment(MIDSTREAM_URL=url, MIDSTREAM_API_KEY=key, MIDSTREAM_ADMIN_KEY=ADMIN_KEY),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


def cells(out: str) -> list[dict[str, str]]:
    heading, *rows = (line.split("\t") for line in out.splitlines())
    return [dict(zip(heading, row, strict=True)) for row in rows]


def test_watch_and_cancel_a_completion(tmp_path: Path) -> None:
    async def body(run: Rig, url: str) -> None:
        create = run.create(
            model="sim-slow",
            max_tokens=500,
            stream=True,
            headers={"midstream-completion-id": "hello"},
        )
        await until(lambda: b"content" in create.body, "its first token")
        code, out, _ = await ask(url, run.key, "ps")
        (row,) = cells(out)
        assert code == 0
        assert (row["NAME"], row["TEAM"], row["STATUS"]) == ("hello", "acme", "streaming")
        assert (row["READERS"], row["PID"]) == ("1", str(os.getpid()))
        tail = asyncio.ensure_future(ask(url, run.key, "tail", "hello"))
        await until(lambda: run.runtime.carrier.running, "it runs")
        code, out, _ = await ask(url, run.key, "cancel", "hello")
        assert code == 0
        assert out.startswith(f"cancelled\t{row['ID']}\ntokens\t")
        assert "\nsource\tadmin\nupstream\tclosed " in out
        assert re.search(r"charged\t0\.\d{6} credits of 0\.2\d{5} held; 0\.2\d{5} released", out)
        code, out, err = await tail
        assert code == 0
        assert re.fullmatch(r"( \w+)+\n", out), out
        assert err.startswith("[cancelled: admin; ")
        code, out, err = await ask(url, run.key, "cancel", row["ID"])
        assert (code, out) == (1, "")
        assert "(409 chat_cancel_target_already_terminal)" in err
        assert cells((await ask(url, run.key, "ps"))[1]) == []
        assert len(cells((await ask(url, run.key, "ps", "--all"))[1])) == 1
        assert (await ask(url, run.key, "tail", "no-such"))[0] == 1
        await create.done()

    serve(tmp_path, body)


def test_a_tenants_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    async def body(run: Rig, url: str) -> None:
        evil = "\x1b]0;owned\x07lap\u202etop\x1b[2J\x9b31m"
        team = ("keys", "create", "team2", "--organization", "org2", "--name", evil)
        assert (await ask(url, run.key, *team))[0] == 0
        code, out, err = await ask(url, run.key, "keys", "list", "--team", "team2")
        assert code == 0
        assert cells(out)[0]["NAME"] == "laptop"
        assert not set(out + err) & set("\x1b\x07\x9b\u202e")
        code, out, err = await ask(url, run.key, "tail", evil)
        assert code == 1
        assert not set(out + err) & set("\x1b\x07\x9b\u202e")

    serve(tmp_path, body)


def test_keys_and_credits(tmp_path: Path) -> None:
    async def body(run: Rig, url: str) -> None:
        code, out, _ = await ask(
            url, run.key, "keys", "create", "team2", "--organization", "org2", "--name", "laptop"
        )
        made = dict(line.split("\t") for line in out.splitlines())
        assert code == 0
        assert made["key"].startswith("al_live_")
        (row,) = cells((await ask(url, run.key, "keys", "list", "--team", "team2"))[1])
        assert (row["KEY_ID"], row["NAME"], row["REVOKED"]) == (made["key_id"], "laptop", "-")
        assert made["key"] not in str(row)
        code, out, _ = await ask(url, run.key, "credits", "grant", "team2", "12.5")
        assert out == (
            "team\t\tteam2\ncredits\t\t12.500000\nheld\t\t0.000000\n"
            "available\t12.500000 = 12.500000 - 0.000000\n"
        )
        assert (await ask(url, made["key"], "credits", "show"))[1] == out.split("\n", 1)[1]
        assert (await ask(url, run.key, "credits", "show", "team2"))[1] == out
        assert (await ask(url, run.key, "keys", "revoke", made["key_id"]))[0] == 0
        code = 0
        while (
            code == 0
        ):  # A replica may know a key for some seconds more; the test's own limit ends this.
            code, _, err = await ask(url, made["key"], "credits", "show")
        assert (code, "(401 " in err) == (1, True)
        once = await ask(url, run.key, "credits", "grant", "--key", "k", "team2", "1")
        assert once[0] == 0
        assert await ask(url, run.key, "credits", "grant", "--key", "k", "team2", "1") == once
        for amount in ("0", "-1", "0.0000001", "lots", "nan"):
            assert (await ask(url, run.key, "credits", "grant", "--", "team2", amount))[0] == 2
        code, out, _ = await ask(url, run.key, "audit")
        assert code == 0
        assert "ok\tTrue\n" in out

    serve(tmp_path, body)


def test_credits_that_are_held_are_shown_as_held(tmp_path: Path) -> None:
    async def body(run: Rig, url: str) -> None:
        create = run.call(
            "POST", "/v1/chat/completions", chat_body(model="sim-stall", stream=True)
        ).start()
        await until(lambda: create.status == 200, "it streams, so its hold is durable")
        held = await run.held()
        assert held > 0
        out = (await ask(url, run.key, "credits", "show"))[1]
        free = 1_000_000_000 - held
        assert f"held\t\t{held / 1e6:.6f}\n" in out
        assert f"available\t{free / 1e6:.6f} = 1000.000000 - {held / 1e6:.6f}\n" in out
        create.hang_up()
        await run.settled()

    serve(tmp_path, body)


def serve(folder: Path, body: Callable[[Rig, str], Awaitable[None]]) -> None:
    async def main() -> None:
        async with rig(folder, simulator=True) as run, run.serve() as url:
            await body(run, url)

    asyncio.run(main())
