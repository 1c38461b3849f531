"""The load tester: many clients that check what they are told. `actor` alone knows Ray."""
