"""One running instance: bring it up, take it down, its data directory, its processes."""
