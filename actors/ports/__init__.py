"""What rooms ask of one another: protocols and values only.

A port that other processes ask is a contract too (`actors.rpc.contracts`): its annotations are what goes over
the wire, so a change of one is a change of the protocol. Knows `core`, and nothing else of ours.
"""
