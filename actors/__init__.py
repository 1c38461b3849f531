"""The runtime: a folder per room. Each room says in its docstring what it owns and what it may know."""
