"""Training methods, one file each; `base.py` is the contract."""

if __name__ != "legible.methods":
    raise ImportError(f"import legible.methods, not {__name__} (plugins: from legible import ...)")
