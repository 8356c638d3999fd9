"""What runs the benchmark: training, scoring, suites, leaderboards, and the command line."""

if __name__ != "legible.bench":
    raise ImportError(f"import legible.bench, not {__name__} (plugins: from legible import ...)")
