"""The whole ring in one process: replicas, registry, carriers, ledger and the calls between them.

Everything that decides is the product's own code. What stands in for the rest: `world` and
`process_loop` (time and processes), `network` (a hostile transport), `processes` (what Ray does: start,
name, watch, end), `sim_store`, `upstream`, `clients`. `invariants` says what must hold, `planted`
breaks the product on purpose, `run` puts it all together and `__main__` is the command.
"""
