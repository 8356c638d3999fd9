"""The check of everything that a GPU changes: `make gpu` runs it and writes results/gpu."""
