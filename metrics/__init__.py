"""Metrics; base.py defines what a metric is."""

if __name__ != "legible.metrics":
    raise ImportError(f"import legible.metrics, not {__name__} (plugins: from legible import ...)")
