"""Statistics on numpy arrays: intervals, corrections, ranks and correlations."""
