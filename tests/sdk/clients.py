"""The official SDKs as their users make them: a base URL, a key, and nothing else of ours.

Their HTTP client would take a proxy from the environment, and their retries would hide what was answered
first; both are off. An answer without an end is given up. Each SDK is imported where it is used: a test
of one needs no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from tests.support.instance import DEMO_KEY, Instance, ends_in_time

if TYPE_CHECKING:
    import anthropic
    import openai

__all__ = ["Asked", "anthropic_client", "openai_client", "place"]

TIMEOUT_S = 60
HOOKS = {"response": [ends_in_time]}

SDK = TypeVar("SDK")


class Asked(NamedTuple, Generic[SDK]):
    """An SDK and what it asks: Midstream, over either upstream wire format, or the simulator itself.

    `suffix` follows a built-in model's name, and chooses the upstream's wire format.
    """

    client: SDK
    suffix: str


def place(midstream: Instance, name: str) -> tuple[str, str]:
    """Return the base URL and the suffix of `midstream`, `midstream@WIRE` or `simulator`."""
    if name == "simulator":
        return midstream.simulator_url(), ""
    return midstream.url, name.removeprefix("midstream")


@contextmanager
def openai_client(base_url: str, key: str = DEMO_KEY) -> Iterator[openai.OpenAI]:
    import openai

    with (
        openai.DefaultHttpxClient(trust_env=False, event_hooks=HOOKS) as http,
        openai.OpenAI(
            base_url=f"{base_url}/v1",
            api_key=key,
            max_retries=0,
            timeout=TIMEOUT_S,
            http_client=http,
        ) as client,
    ):
        yield client


@contextmanager
def anthropic_client(base_url: str, key: str = DEMO_KEY) -> Iterator[anthropic.Anthropic]:
    import anthropic

    with (
        anthropic.DefaultHttpxClient(trust_env=False, event_hooks=HOOKS) as http,
        anthropic.Anthropic(
            base_url=base_url, api_key=key, max_retries=0, timeout=TIMEOUT_S, http_client=http
        ) as client,
    ):
        yield client
