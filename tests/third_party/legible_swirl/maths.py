"""What the method shares with nobody: a module of its own, to see that imports are followed."""

from torch import Tensor


def turning(responses: Tensor) -> Tensor:
    """Mean product of neighbouring units' responses, the last one next to the first."""
    return (responses * responses.roll(1, dims=1)).mean()
