"""Web pages of runs and of results."""
