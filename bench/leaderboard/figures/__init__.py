"""Figures of a leaderboard and pictures of single networks."""
