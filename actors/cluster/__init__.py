"""Deploying the actors, nodes, what every actor is told: the room that knows Ray."""
