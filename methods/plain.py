"""Plain training: the baseline with which every other row is compared."""

from legible.methods.base import Method, register


@register
class Plain(Method):
    """Trains with the cross-entropy only: the baseline of every comparison.

    Equation: L = CE(logits, labels).
    Paper: none. Repository: none. Differences: none.
    """

    target_reason = "is what the others are compared with"
