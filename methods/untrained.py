"""Null row: the network as initialised."""

from legible.methods.base import Method, register


@register
class Untrained(Method):
    """No training at all: what an architecture scores by itself.

    Equation: none. Paper: none. Repository: none. Differences: none.
    """

    kind = "null"
    trains = False
