"""What a run of the load tester shows: live, in a table, on a page."""
