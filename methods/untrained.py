"""Null row: the network as initialised."""

from legible.methods.base import Method, register


@register
class Untrained(Method):
    """The network as initialised, without training: the scores of the architecture itself.

    Equation: none. Paper: none. Repository: none. Differences: none.
    """

    kind = "null"
    trains = False
