"""Weight decay in the loss."""

import torch


def test_gradient_is_the_weight_times_the_strength(fit, take_step):
    fitted = fit("weight_decay", {"strength": 0.5}, epochs=0)
    parameters = dict(fitted.network.named_parameters())
    term = fitted.method.penalty(take_step(fitted))["weight_decay"]
    expected = sum(0.25 * p.detach().double().square().sum().item() for p in parameters.values()
                   if p.ndim > 1)  # fmt: skip
    torch.testing.assert_close(term.item(), expected, rtol=1e-6, atol=0)
    term.backward()
    for name, p in parameters.items():
        if p.ndim > 1:
            torch.testing.assert_close(p.grad, 0.5 * p.detach())
        else:
            assert p.grad is None, name


def test_weights_end_smaller(fit):
    norms = []
    for strength in (0.0, 0.1):
        network = fit("weight_decay", {"strength": strength}, epochs=4).network
        norms.append(
            sum(p.detach().square().sum().item() for p in network.parameters() if p.ndim > 1)
        )
    assert norms[1] < 0.9 * norms[0]


def test_laws(check_laws):
    check_laws("weight_decay")
