"""What a replica of Serve has of the runtime: it starts, finds, cancels and reads completions.

`slot_leases` decides which slot goes to whom, `slots` does it, `starts` uses one; `mirrors` keeps a copy of
each log that is read here, and `testimony` offers it where its carrier is gone; `links` are the ways to
carriers; `runtime` is what HTTP asks. It owns no completion: whatever is lost here costs none anything. No
Ray, and nothing of a carrier's or the registry's inside.
"""
