"""What rooms ask of one another: protocols and values only. Knows `core`, and nothing else of ours."""
