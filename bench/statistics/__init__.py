"""Intervals, corrections, ranks and correlations, in numpy alone."""
