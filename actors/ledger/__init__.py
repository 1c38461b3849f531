"""The ledger's room: teams, keys, credit, holds and records, and the one writer of all of them.

`service` implements the port `actors.ports.ledger.Ledger`. What it does to the store is a *change*: a
function of (memory, transaction), in `placing`, `checkpointing`, `settling`, `losing`, `closing`, `deleting`,
`administration` and `upkeep`. It reads what is in memory and in the store, decides by the rules of
`actors.core.money`, changes memory and adds rows to the transaction; it raises an error of
`actors.core.errors` before it has changed anything, or it takes effect. Changes run in the one thread that
writes (`group_commit`, `writer`), wait for nothing and know neither asyncio nor Ray. `reads` answers from the
store alone.

`actor` is what Ray knows of it, `client` how other processes reach it.
"""
