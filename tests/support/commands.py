"""Start commands for tests: 12 prompt tokens at 75, output at 450, on a provider named `scripted`."""

from __future__ import annotations

from actors.core.request import (
    CompletionRequest,
    Dialect,
    DisconnectPolicy,
    Message,
    Prices,
    Role,
    StartCommand,
    TextPart,
)

PROMPT_TOKENS = 12


def command(
    *,
    completion_id: str = "cmp_01",
    wire_id: str | None = None,
    max_output_tokens: int = 16,
    tokenizer_is_exact: bool = True,
    on_disconnect: DisconnectPolicy = DisconnectPolicy.CANCEL,
    background: bool = False,
    stream: bool = True,
    team: str = "demo",
    total_timeout_s: float = 100.0,
    created_at_s: float = 1_800_000_000.0,
) -> StartCommand:
    request = CompletionRequest(
        model="sim",
        messages=(Message(Role.USER, (TextPart("Name a lake."),)),),
        max_output_tokens=max_output_tokens,
        stream=stream,
        background=background,
        on_disconnect=on_disconnect,
    )
    return StartCommand(
        completion_id=completion_id,
        wire_id=wire_id or completion_id,
        team=team,
        key_id="key_1",
        dialect=Dialect.CHAT,
        request=request,
        model="sim",
        provider="scripted",
        upstream_model="sim",
        prices=Prices(75, 450),
        prompt_tokens_estimated=PROMPT_TOKENS,
        tokenizer_is_exact=tokenizer_is_exact,
        max_output_tokens=max_output_tokens,
        hold_microcredits=(11 * PROMPT_TOKENS * 75 + 9) // 10 + 450 * max_output_tokens,
        created_at_s=created_at_s,
        total_timeout_s=total_timeout_s,
    )
