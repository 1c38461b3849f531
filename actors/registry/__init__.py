"""The RegistryActor's room: which carrier has which completion, and the pool of carriers.

`pool`, `growth`, `waiters`, `recalls` and `locations` decide and do nothing; `deaths` finds out what died;
`service` does it. A cache, never the truth. It must not know how a carrier or the ledger works, only their
ports. `actor` alone knows Ray.
"""
