"""Goal: Claude Code and Codex CLI, as they are, work against any provider.

Each runs a command by its own tool, tells the result, and knows its first prompt in a second turn. What
reached the provider, which is as strict as the real ones, is held too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.agents import ClaudeCode, Codex
from tests.clients.environments import Environments, NotInstalled
from tests.clients.places import KINDS, place
from tests.clients.upstream import ScriptedUpstream
from tests.support.instance import Instance, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.clients]

LONG = 2_500  # more tokens than any limit of ours may cut
UNDER_WAY_S = 0.5

Agent = ClaudeCode | Codex
NewAgent = Callable[[str, str], Agent]


@pytest.fixture
def new_agent(
    environments: Environments, scripted: ScriptedUpstream, gateway: Instance, tmp_path: Path
) -> NewAgent:
    """Makes an agent of this name before the provider of this wire format."""

    def new(name: str, kind: str) -> Agent:
        at = place(gateway, scripted.url, kind)
        try:
            if name == "claude":
                return ClaudeCode(environments.claude(), at, tmp_path / "home")
            return Codex(environments.codex(), at, tmp_path / "home")
        except NotInstalled as missing:
            pytest.skip(str(missing))

    return new


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["claude", "codex"])
def test_an_agent_runs_a_tool_and_goes_on(
    new_agent: NewAgent, scripted: ScriptedUpstream, name: str, kind: str
) -> None:
    agent = new_agent(name, kind)
    before = len(scripted.log)
    first = f"Please run `echo {name}-$((40+2))` for {kind}."
    assert f"{name}-42" in agent.turn(first)
    assert first in agent.turn("What did I say first?", more=True)
    assert [one.error for one in scripted.log[before:] if one.error] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["claude", "codex"])
def test_a_long_answer_arrives_whole(new_agent: NewAgent, name: str, kind: str) -> None:
    said = new_agent(name, kind).turn(f"Please count to {LONG}.")
    assert said.split() == [str(n) for n in range(1, LONG + 1)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["claude", "codex"])
def test_ctrl_c_closes_the_upstream(
    new_agent: NewAgent, scripted: ScriptedUpstream, name: str, kind: str
) -> None:
    prompt = f"Count slowly for {name} on {kind}."

    def under_way() -> None:
        wait_until(lambda: scripted.asked(prompt), "the provider is asked", 60)
        time.sleep(UNDER_WAY_S)

    new_agent(name, kind).interrupted(prompt, under_way)
    assert {one.closed_by for one in scripted.ended(prompt)} == {"client"}


def test_claude_code_reads_what_the_provider_refuses(
    new_agent: NewAgent, scripted: ScriptedUpstream
) -> None:
    """A 400 that names its beta makes it send again without; so the 400 must come as it is."""
    agent = new_agent("claude", "messages")
    agent.turn("Please greet me.")
    betas = scripted.log[-1].headers["anthropic-beta"].split(",")
    refused = next(beta for beta in betas if beta.startswith("mid-conversation"))
    before, scripted.refused_betas = len(scripted.log), frozenset({refused})
    try:
        assert "Hello" in agent.turn("Please greet me again.")
    finally:
        scripted.refused_betas = frozenset()
    statuses = [one.status for one in scripted.log[before:]]
    assert statuses[0] == 400
    assert statuses[-1] == 200
    assert refused not in scripted.log[-1].headers["anthropic-beta"]


@pytest.mark.parametrize("kind", KINDS)
def test_codex_calls_a_tool_of_a_namespace(
    new_agent: NewAgent, scripted: ScriptedUpstream, kind: str
) -> None:
    """The call comes back under its namespace, and so it is one that Codex knows."""
    said = new_agent("codex", kind).turn(f"Please use close_agent for {kind}.")
    assert "The tool said" in said
    assert "unsupported call" not in said
