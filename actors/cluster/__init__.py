"""Bringing the actors up and taking them down, the nodes, and what every actor is told.

The room that knows Ray, beside the `actor` files: names, placement, restarts, word of deaths, and its errors
as ours. It puts the other rooms together and decides nothing of theirs.
"""
