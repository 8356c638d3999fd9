"""The untrained twin has the architecture and other weights, the same for a seed."""

from __future__ import annotations

import torch
from small_networks import small_network
from torch import nn

from legible.bench.one_network.twin import seeded, with_fresh_weights


class WithToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 4000) * 3 + 5)
        self.norm = nn.BatchNorm2d(2)
        self.attention = nn.MultiheadAttention(4, 2)
        self.frozen = nn.Parameter(torch.tensor([7.0]))


def test_every_weight_is_drawn_anew_and_the_model_stays():
    model = small_network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    twin = seeded(lambda: with_fresh_weights(model), 0, "twin")
    for name, value in twin.state_dict().items():
        assert value.shape == before[name].shape and not torch.equal(value, before[name])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_parameters_without_a_rule_keep_mean_and_spread():
    model = WithToken()
    with torch.no_grad():
        model.norm.running_mean += 3
    twin = seeded(lambda: with_fresh_weights(model), 0, "twin")
    token = twin.token.detach()
    assert not torch.equal(token, model.token)
    assert abs(float(token.mean()) - 5) < 0.3 and abs(float(token.std()) - 3) < 0.2
    assert twin.norm.running_mean.tolist() == [0, 0] and twin.frozen.item() == 7
    assert not torch.equal(twin.attention.in_proj_weight, model.attention.in_proj_weight)


def test_a_seed_gives_the_same_twin_and_the_global_generator_stays():
    model, state = small_network(), torch.random.get_rng_state()
    first, second, other = (
        seeded(lambda: with_fresh_weights(model), seed, "twin")[0].weight for seed in (0, 0, 1)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)
