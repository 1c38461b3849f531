"""The way of one completion through the product: which functions it passes, there and back.

Owns the run (`completion`), and the list of steps that is made of it (`steps`). `python -m tests.way`
prints the list; `test_way` keeps its totals from growing.
"""
