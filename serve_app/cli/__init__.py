"""The command line: `midstream`. All but `up` and `down` speak HTTP."""
