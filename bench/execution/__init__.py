"""Doing the work: the store of runs, workers, schedule, progress, costs."""
