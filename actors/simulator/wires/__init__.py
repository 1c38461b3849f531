"""What the simulator says in each wire format."""
