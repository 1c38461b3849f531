"""What a replica of Serve has of the runtime: start, find, cancel, mirrors, slot leases. No Ray."""
