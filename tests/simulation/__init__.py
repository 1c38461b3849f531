"""The whole ring in one process: replicas, registry, carriers, ledger and the calls between them.

Everything that decides is the product's own code. What stands in for the rest: `world` and
`process_loop` (time and processes), `network` (a hostile transport), `processes` (what Ray does: start,
name, watch, end), `sim_store`, `upstream`, `clients` with their `orders`, `strangers`. `faults` says what
goes wrong, `invariants` what must hold all the same, `bounds` how low the product's bounds are here.
`planted` breaks the product on purpose, with the `mistakes`. `run` puts one ring together; `rings` runs
many, each with its own seed, `cover` says whether they saw enough, `shrink` makes a failure small.
`__main__` is the command.
"""
