"""Parameters out of range, said in one line."""

from __future__ import annotations

from collections.abc import Collection


def between(name: str, value: int | float, low: int | float, high: int | float) -> None:
    """Raises ValueError, naming the parameter and its range, unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value}")


def at_least(name: str, value: int | float, low: int | float) -> None:
    """Raises ValueError, naming the parameter, unless low <= value."""
    if not value >= low:
        raise ValueError(f"{name} must be at least {low}, not {value}")


def one_of(name: str, value: str, known: Collection[str]) -> None:
    """Raises ValueError, naming the parameter and the choices, unless value is one of them."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(sorted(known))}, not '{value}'")
