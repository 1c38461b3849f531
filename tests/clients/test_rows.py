"""Goal: SDKs and agents work unmodified: only address, key and model name are set, on any provider.

A row is a client's script and the provider's wire format. Its scenarios say hello, plain and streamed,
run tools in a loop with a second turn, fill schemas, are forced to call, and cancel in mid-stream, which
the scripted provider sees as its connection closed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.environments import Environments, NotInstalled
from tests.clients.places import KINDS, place
from tests.clients.rows import run_script
from tests.clients.upstream import ScriptedUpstream
from tests.support.instance import Instance

pytestmark = [pytest.mark.ray, pytest.mark.clients]

SCRIPTS = Path(__file__).parent / "python"

# The SDKs, which every other client stands on, meet every wire format; the others those that differ.
ROWS = [
    *(("openai_sdk", kind) for kind in KINDS),
    *(("anthropic_sdk", kind) for kind in KINDS),
    *(("ai_sdk", kind) for kind in KINDS),
    ("pydantic_ai_client", "chat"),
    ("pydantic_ai_client", "messages"),
    ("langchain_client", "responses"),
    ("langchain_client", "messages"),
    ("openai_agents_client", "responses"),
    ("openai_agents_client", "chat"),
    ("smolagents_client", "chat"),
    ("llama_index_client", "chat"),
    ("instructor_client", "chat"),
    ("litellm_client", "messages"),
    # Midstream's own models; these ask no provider.
    ("built_in_openai", "chat"),
    ("built_in_anthropic", "messages"),
]
ENVIRONMENTS = {"built_in_openai": "openai_sdk", "built_in_anthropic": "anthropic_sdk"}


@pytest.mark.parametrize(("client", "kind"), ROWS)
def test_a_client_works(
    environments: Environments,
    scripted: ScriptedUpstream,
    gateway: Instance,
    tmp_path: Path,
    client: str,
    kind: str,
) -> None:
    try:
        command = command_of(environments, client)
    except NotInstalled as missing:
        pytest.skip(str(missing))
    at = place(gateway, scripted.url, kind)
    rows = run_script(command, at, mark=f"{client}-{kind}", home=tmp_path / "home")
    failed = {scenario: error for scenario, error in rows.items() if error}
    assert not failed, "\n\n".join(f"{scenario}: {error}" for scenario, error in failed.items())


def command_of(environments: Environments, client: str) -> list[str]:
    if client == "ai_sdk":
        return ["node", str(environments.node() / "ai_sdk.mjs")]
    interpreter = environments.python(ENVIRONMENTS.get(client, client))
    return [str(interpreter), str(SCRIPTS / f"{client}.py")]
