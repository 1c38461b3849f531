"""Chaos on a running Midstream: real Ray, real HTTP, real kills and stops, under live streams.

`python -m tests.chaos --minutes M --seed N` keeps streams of every kind of client alive (`streams`), kills
and stops the processes of an instance at random (`faults`), and then holds what each client saw against
the records, the ledger and the upstream's own log (`witness`). It prints a row per fault.

The upstream is a process of its own, which no fault touches, so its log is the truth of what was asked.
"""
