"""HTTP on Ray Serve: a folder per room. `deployment` is the one file here with Ray."""
