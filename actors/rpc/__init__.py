"""Calls between the processes of one deploy, beside Ray, which places, names and watches them.

A call through Ray costs a millisecond of CPU on its two sides, more than a completion's own work. So what
our processes ask of one another goes over one kept TCP connection per pair, which proves the deploy's
token before anything is decoded. This room knows `core` and `ports`; it does not know what is asked.

    contract    a port's Protocol as codecs, dispatch and client; `contracts` has all there are
    peer        the end that calls           serving    the end that answers
    messages    what they say                codec      values and errors as msgpack
    tcp         the connection

A call whose connection broke is made once more, so every operation must be safe to repeat. Order between
calls is not promised.
"""
