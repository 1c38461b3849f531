"""The CompletionActor's room: what carries completions in a process, and what each of them does there.

`driver` feeds one completion's machine and carries out what it says; `upstream_pump` reads its provider,
`hold_keeper` asks for its money. `carrier` holds the drivers of a process, `channel` what their readers have
not seen yet, `reporter` what the registry has not heard, `checkpointer` what of their logs the ledger does
not keep. All of it runs on any event loop, over ports; it must not know the registry's, the ledger's or a
replica's inside. `actor` alone knows Ray.
"""
