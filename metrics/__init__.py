"""Metrics, one file an aspect; `base.py` is the contract."""

if __name__ != "legible.metrics":
    raise ImportError(f"import legible.metrics, not {__name__} (plugins: from legible import ...)")
