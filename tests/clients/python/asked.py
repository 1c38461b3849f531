"""What the scripts of all Python clients share; each runs in its client's own environment.

A script's functions are scenarios: `main` runs them in order and prints a line of JSON each. Address, key
and model come from the environment, and the address where the provider tells how an exchange ended.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import time
import traceback
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

URL = os.environ["ASKED_URL"]
KEY = os.environ["ASKED_KEY"]
MODEL = os.environ["ASKED_MODEL"]
LOG = os.environ["ASKED_LOG"]
MARK = os.environ["ASKED_MARK"]

HELLO = "Please greet me."
WEATHER = "How is the weather?"
FIRST = "What did I say first?"
SUNNY = "sunny and 21 degrees"
COUNTED = 3  # deltas that are read before a cancel

SCENARIOS: dict[str, Callable[[], Any]] = {}


def scenario(function: Callable[[], Any]) -> Callable[[], Any]:
    SCENARIOS[function.__name__] = function
    return function


def for_each(ways: dict[str, Any]) -> Callable[[Callable[[Any, str], Any]], Any]:
    """A scenario per way that a client can ask; it gets what the way makes, and the way's name."""

    def named(function: Callable[[Any, str], Any]) -> Any:
        for way, make in ways.items():
            name = f"{function.__name__}[{way}]"
            SCENARIOS[name] = lambda make=make, way=way: function(make(), way)
        return function

    return named


def slowly(way: str = "") -> str:
    """A prompt that is counted for until it is cancelled; it is this way's alone."""
    return f"Count slowly for {MARK} {way}."


def weather(city: str) -> str:
    """Tell the weather of a city.

    Args:
        city: the city's name.
    """
    return f"{SUNNY} in {city}"


def has(text: Any, part: str) -> None:
    assert part in str(text), f"{part!r} is not in {text!r}"


def closed_by_client(prompt: str, timeout_s: float = 20.0) -> None:
    """The provider saw the one connection of this prompt closed while it still had much to say."""
    query = urllib.parse.urlencode({"prompt": prompt})
    deadline = time.monotonic() + timeout_s
    while True:
        with urllib.request.urlopen(f"{LOG}/_log?{query}", timeout=10) as answer:
            rows = json.load(answer)["data"]
        ends = [row["closed_by"] for row in rows]
        if ends and None not in ends:
            assert set(ends) == {"client"}, rows
            return
        assert time.monotonic() < deadline, f"still open: {rows}"
        time.sleep(0.05)


def main() -> None:
    only = sys.argv[1:]
    for name, function in SCENARIOS.items():
        if only and not any(one in name for one in only):
            continue
        error = ""
        try:
            if inspect.iscoroutine(result := function()):
                asyncio.run(result)
        except BaseException:
            error = traceback.format_exc()
        print(json.dumps({"scenario": name, "error": error}), flush=True)
    sys.stdout.flush()
    os._exit(0)  # Clients' own threads are not waited for.
