"""Calls between two processes of the runtime on a connection of their own, beside Ray.

Ray places actors, names them, restarts them and says which are dead; a call through it costs a
millisecond of CPU on its two sides, which is more than a completion's own work. So what is called for
every completion goes over one kept WebSocket per pair of processes. Its address and its token come from
the actor, through Ray: who may not call the actor cannot connect, and what is read from a peer without
the token is nothing.

A message is a list of pickled frames, all that one turn of the loop had to say:

    (number, method, arguments)   to the server; `STOP` as the method ends a stream
    (number, kind, value)         back: an answer, an error of ours, a stream's item or its end

A call whose connection broke is made once more on a new one, so every method must be safe to repeat.
Order between calls is not promised. No Ray here.
"""
