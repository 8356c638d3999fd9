"""Generated pages: metric cards and fidelity cards."""
