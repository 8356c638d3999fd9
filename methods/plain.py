"""Plain training: the baseline every other row is compared with."""

from legible.methods.base import Method, register


@register
class Plain(Method):
    """Cross-entropy alone.

    Equation: L = CE(logits, labels).
    Paper: none. Repository: none. Differences: none.
    """
