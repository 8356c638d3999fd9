"""Scoring: from a trained network to the scores of all metrics."""
