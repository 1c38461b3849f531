"""The wire formats of providers, both directions.

The provider client, the simulator, the load tester and the dialects use the same code for each.
"""
