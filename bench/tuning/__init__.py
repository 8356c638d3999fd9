"""Choosing each method's setting by the same number of trials."""
