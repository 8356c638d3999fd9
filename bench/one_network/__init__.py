"""Scores of a network that one already has, beside an untrained twin and impostors."""
