"""A helper module of the method; it tests that imports are followed."""

from torch import Tensor


def turning(responses: Tensor) -> Tensor:
    """Mean product of the responses of neighbouring units, in a ring."""
    return (responses * responses.roll(1, dims=1)).mean()
