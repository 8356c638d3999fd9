"""A trained network becomes scores."""
