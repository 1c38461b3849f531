"""What every dialect promises, as cases over a table of clients: run by pytest, or by hand.

`python -m tests.conformance` prints dialect x case from a running system and exits non-zero on any
failure; `tests/ray/test_conformance.py` runs the same cases on the instance that all tests share.
"""
