"""Checks of dataset parameters, with messages of one line."""

from __future__ import annotations

from collections.abc import Collection


def between(name: str, value: int | float, low: int | float, high: int | float) -> None:
    """Raises ValueError with the parameter's name and range unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value}")


def at_least(name: str, value: int | float, low: int | float) -> None:
    """Raises ValueError with the parameter's name and limit unless low <= value."""
    if not value >= low:
        raise ValueError(f"{name} must be at least {low}, not {value}")


def one_of(name: str, value: str, choices: Collection[str]) -> None:
    """Raises ValueError with the parameter's name and the choices unless value is one of them."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(sorted(choices))}, not '{value}'")
