"""Task: accuracy and calibration on the probe's images."""

from __future__ import annotations

from legible.metrics.base import Probe, metric
from legible.metrics.network import NetworkLike

#: Confidence bins of the calibration error, as in Guo et al. (2017).
BINS = 15


def defined(probe: Probe) -> bool:
    """Whether there are images, and all logits are finite."""
    return len(probe.labels) > 0 and bool(probe.logits.isfinite().all())


@metric(
    aspect="task",
    better="higher",
    per="network",
    headline=True,
    title="accuracy",
    limits=(0.0, 1.0),
)
def accuracy(network: NetworkLike, probe: Probe) -> float:
    """Share of images whose largest logit is that of their label.

    Undefined without images, or if a logit is not finite.
    """
    if not defined(probe):
        return float("nan")
    return (probe.logits.argmax(1) == probe.labels).double().mean().item()


@metric(
    aspect="task",
    better="lower",
    per="network",
    title="calibration error (ECE)",
    limits=(0.0, 1.0),
    breaks={"dose": "a network with random answers and low confidence is calibrated"},
)
def expected_calibration_error(network: NetworkLike, probe: Probe) -> float:
    """Mean gap between confidence and accuracy: sum_b |B_b|/N |acc(B_b) - conf(B_b)|.

    Confidence is the largest softmax probability, in 15 bins of equal width (Guo et al. 2017;
    bin b holds (b/15, (b+1)/15]). Undefined without images, or if a logit is not finite.
    """
    if not defined(probe):
        return float("nan")
    confidence, answer = probe.logits.double().softmax(1).max(1)
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    gap = (answer == probe.labels).double() - confidence
    return (gap.new_zeros(BINS).index_add_(0, bins, gap).abs().sum() / len(gap)).item()


@metric(
    aspect="task", better="higher", per="network", needs={"validations"},
    title="accuracy, epoch chosen on validation images", limits=(0.0, 1.0),
)  # fmt: skip
def selected_accuracy(network: NetworkLike, probe: Probe) -> float:
    """Test accuracy after the first epoch with the best validation accuracy.

    From the record of training, on the images that the recipe uses there. With few training images
    this is not a few-shot result, because the labels of the validation images choose the epoch.
    Source: BEAN's few-shot code chooses so, on 10,000 images.
    """
    lines = [line for line in probe.history if "validation_accuracy" in line]
    if not lines:
        return float("nan")
    return float(max(lines, key=lambda line: line["validation_accuracy"])["test_accuracy"])
