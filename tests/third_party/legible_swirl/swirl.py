"""A method: neighbouring units are not active together."""

from legible import Method, Step, register

from .maths import turning


@register
class Swirl(Method):
    """Penalises neighbouring units that respond together.

    Equation: L = CE + s * mean_i r_i r_{i+1}, r the responses of the last Tap's units.
    Paper: none. Repository: none. Differences: none.
    """

    acts_on = "last"
    target_reason = "has no metric"

    def penalty(self, step: Step) -> dict:
        activation = step.activations[self.taps[0]]
        responses = activation.flatten(2).mean(2) if activation.ndim > 2 else activation
        return {"turning": self.strength * turning(responses)}
