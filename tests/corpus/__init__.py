"""What the world sends, as data: bytes of providers and requests of clients, with what must come of them.

    python -m tests.corpus [WORD ...]    a row for every case (or those whose row has every WORD)

Each line of a `.jsonl` file here is a case. Every case has `name` (unique), `bullet` (the kind it is of)
and `report` (where somebody met it: a public issue, or the provider's page); the beginning of the file's
name says how it is played:

`streams*.jsonl` (see `streams`): what a provider answered.
    provider_kind   the wire format
    upstream        text; or a list whose objects are each a Server-Sent Event, and whose texts are bytes
                    as they are. `upstream_base64` instead where it is no text.
    headers         of the answer, where they matter
    right           `text`, `reasoning`, `refusal` (absent: ""), `tool_calls` ([id or null, name, arguments];
                    absent: none; arguments that are no text are compared as JSON), `finish` (the neutral
                    word) or `error` (then it failed), `usage` (by member, or [prompt, completion,
                    reasoning]), `basis` ([prompt, output]), `charge_microcredits`, `opaque` (how many)
    Prompt tokens are estimated at 10; a token costs 75 in and 450 out (`prices`: other members of Prices).

`timeouts*.jsonl` (see `timeouts`): what a provider sent at which second.
    timeline        pairs of a second and what came then: "200" for its headers, or as `upstream`
    settings        of the runtime, where they matter
    right           `end` (the failure's code, or the neutral finish), `at_s`

`requests*.jsonl` (see `requests`): what a client asked.
    dialect, provider_kind ("any": each of them), request (`model` is put in), headers
    provider, model   members of the configuration's entries, where they matter
    right             `status`; of a 200 `upstream` (what the provider's body has at least), `absent`
                      (dotted paths that it has not), `upstream_headers`, `ignored`, `adjusted` (exactly);
                      of an error `error` (what its body has at least)
"""
