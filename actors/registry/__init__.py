"""The RegistryActor's room: which carrier has which completion, and the pool of carriers.

`actor` alone knows Ray.
"""
