"""The wire to providers: what they are configured as, asked, and how their answers are read. No Ray."""
