"""Dispersion and location instability against known answers and direct loops."""

import math

import pytest
import torch
from planted_probes import make_concepts, make_probe, random_probe, to_pixels

from legible.metrics import focus
from legible.metrics.base import METRICS

FORMS = ["focus_dispersion", "focus_spread", "focus_distance"]


def score(name, activation):
    activation = torch.as_tensor(activation).float()
    layer, probe = make_probe(activation, torch.arange(len(activation)) % 2, classes=2)
    return METRICS[name].function(layer, probe)


def null(name, layer, probe):
    return METRICS[name].null(layer, probe)


# ----------------------------------------------------------------- dispersion


def test_one_cell_has_no_dispersion():
    activation = torch.zeros(4, 1, 5, 5)
    activation[torch.arange(4), 0, torch.arange(4), 2] = 3.0
    assert score("focus_dispersion", activation).item() == 0
    assert score("focus_spread", activation).item() == pytest.approx(0, abs=1e-7)


def test_two_opposite_corners():
    activation = torch.zeros(1, 1, 3, 3)
    activation[0, 0, 0, 0] = activation[0, 0, 2, 2] = 1.0
    # half of the mass at squared distance 8 from the peak, all of it sqrt 2 from the middle
    assert score("focus_dispersion", activation).item() == pytest.approx(4)
    assert score("focus_spread", activation).item() == pytest.approx(math.sqrt(2))


# ----------------------------------------------------------------- compactness


def test_compactness_of_a_few_maps_by_hand():
    maps = torch.zeros(4, 1, 3, 3)
    maps[0, 0, 0, 0] = maps[0, 0, 2, 2] = 1.0
    maps[1, 0, 0, 0], maps[1, 0, 0, 1] = 2.0, 1.0
    maps[2] = 1.0
    maps[3, 0, 1, 1] = 5.0
    values = [score("focus_compactness", image[None]).item() for image in maps]
    # squared distances from a corner to the other eight positions: 1 1 2 4 4 5 5 8, mean 3.75
    assert values == pytest.approx([1 - 8 / 3.75, 1 - 1 / 3.75, 0, 0])  # a single position: chance
    assert score("focus_compactness", maps).item() == pytest.approx(
        (1 * values[0] + 2 * values[1] + 1 * values[2] + 5 * values[3]) / 9  # weighted by the peaks
    )


def test_values_at_random_places_have_no_compactness():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(400, 1, 6, 6, generator=generator) ** 4
    assert abs(score("focus_compactness", maps).item()) < 0.03
    sparse = maps * (torch.rand(maps.shape, generator=generator) < 0.06)
    assert abs(score("focus_compactness", sparse).item()) < 0.03
    # the form around the peak calls a few single positions focused
    assert score("focus_dispersion", sparse).item() < 0.7 * score("focus_dispersion", maps).item()


def test_a_silent_image_is_left_out_and_a_dead_unit_undefined():
    maps = torch.zeros(3, 2, 3, 3)
    maps[0, 0, 0, 0], maps[0, 0, 0, 1] = 2.0, 1.0
    values = score("focus_compactness", maps)
    assert values[0].item() == pytest.approx(1 - 1 / 3.75) and values[1].isnan()


def test_cgl_form_against_its_formula():
    layer, probe = random_probe(images=20, units=3)
    a = layer.activation.double()
    axis = torch.linspace(-1, 1, 6, dtype=torch.float64)
    expected = []
    for unit in range(3):
        psi = (a[:, unit] / (a[:, unit].std(correction=0) + 5e-3)).sigmoid()
        per_image = []
        for m in psi:
            row, column = (m.sum(1) * axis).sum() / m.sum(), (m.sum(0) * axis).sum() / m.sum()
            distance = ((axis[:, None] - row) ** 2 + (axis - column) ** 2).sqrt()
            per_image.append((m * distance).sum() / m.sum())
        expected.append(torch.stack(per_image).mean())
    torch.testing.assert_close(focus.focus_distance(layer, probe), torch.stack(expected))


@pytest.mark.parametrize("name", FORMS)
def test_a_nearly_flat_map_scores_the_null(name):
    noise = torch.rand(400, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    layer, probe = make_probe(1 + 1e-3 * noise, torch.arange(400) % 2)
    value = METRICS[name].function(layer, probe).mean().item()
    assert value == pytest.approx(null(name, layer, probe), rel=0.03)


@pytest.mark.parametrize("name", FORMS)
def test_images_without_activation_are_left_out_and_dead_units_undefined(name):
    activation = torch.rand(6, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    activation[:, 1] = 0
    alone = score(name, activation)
    assert alone.isnan().tolist() == [False, True]
    if name != "focus_distance":  # whose scale, the deviation, knows of silent images
        padded = torch.cat([activation, torch.zeros(6, 2, 4, 4)])
        assert score(name, padded)[0].item() == pytest.approx(alone[0].item())


@pytest.mark.parametrize("name", FORMS)
def test_dispersion_rises_to_its_null_as_a_peak_drowns(name):
    generator = torch.Generator().manual_seed(0)
    peak = torch.zeros(100, 1, 6, 6)
    peak[:, :, 2, 3] = 1.0
    noise = torch.rand(100, 1, 6, 6, generator=generator)
    values = [score(name, (1 - d) * peak + d * noise).item() for d in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    assert values == sorted(values) and values[-1] - values[0] > 0.01


# ----------------------------------------------------------------- location instability


def moving_landmark(images: int, size: int = 6, seed: int = 0):
    """The random position of a landmark as large as one position, and its mask."""
    position = torch.randint(size * size, (images,), generator=torch.Generator().manual_seed(seed))
    mask = torch.nn.functional.one_hot(position, size * size).bool().reshape(images, 1, size, size)
    return position, to_pixels(mask)


def test_a_unit_that_peaks_on_the_landmark_is_perfectly_stable():
    position, mask = moving_landmark(40)
    on_it = torch.nn.functional.one_hot(position, 36).float().reshape(40, 1, 6, 6)
    fixed = torch.zeros(40, 1, 6, 6)
    fixed[..., 0, 0] = 1.0
    layer, probe = make_probe(
        torch.cat([on_it, fixed, 0 * fixed], 1), torch.arange(40) % 2, make_concepts(mask)
    )
    for metric in (focus.location_instability, focus.location_instability_own_class):
        values = metric(layer, probe)
        assert values[0].item() == 0 and values[1].item() > 0.1 and values[2].isnan()


def test_a_constant_offset_in_one_direction_is_stable():
    column = torch.arange(40) % 4
    unit = torch.nn.functional.one_hot(6 * 2 + column, 36).float().reshape(40, 1, 6, 6)
    mask = torch.nn.functional.one_hot(6 * 2 + column + 2, 36).bool().reshape(40, 1, 6, 6)
    mask = to_pixels(mask)
    layer, probe = make_probe(unit, torch.arange(40) // 20, make_concepts(mask))
    assert focus.location_instability(layer, probe).item() == pytest.approx(0, abs=1e-12)


def direct(layer, probe, choose):
    """Location instability, one unit, class, landmark and image at a time."""
    masks = probe.concepts.masks().double()
    size = masks.shape[-1]
    pixels = size / layer.activation.shape[-1]
    values = []
    for unit in range(layer.units):
        by_class = {}
        for c in range(probe.classes):
            spread = []
            for k in range(masks.shape[1]):
                pairs = []
                for n in torch.nonzero(probe.labels == c)[:, 0].tolist():
                    a, mask = layer.activation[n, unit], masks[n, k]
                    if mask.any() and a.max() > 0:
                        centre = (mask.nonzero().double() + 0.5).mean(0)
                        row, column = divmod(int(a.argmax()), a.shape[1])
                        place = torch.tensor([(row + 0.5) * pixels, (column + 0.5) * pixels])
                        pairs.append((-a.max().item(), (place - centre).norm().item()))
                pairs = [distance for _, distance in sorted(pairs)[:100]]
                if len(pairs) >= 10:
                    spread.append(torch.tensor(pairs, dtype=torch.float64).std().item())
            if spread:
                mean_peak = layer.activation[probe.labels == c, unit].flatten(1).amax(1).mean()
                by_class[c] = (sum(spread) / len(spread) / (size * math.sqrt(2)), mean_peak.item())
        values.append(choose(by_class.values()) if by_class else math.nan)
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("images, classes", [(260, 2), (60, 3), (40, 4)])
def test_location_instability_equals_the_direct_loop(images, classes):
    layer, probe = random_probe(images=images, classes=classes, units=3, concepts=2)
    paper = direct(layer, probe, lambda pairs: min(f[0] for f in pairs))
    code = direct(layer, probe, lambda pairs: max(pairs, key=lambda f: f[1])[0])
    close = {"atol": 1e-9, "rtol": 0, "equal_nan": True}
    torch.testing.assert_close(focus.location_instability(layer, probe), paper, **close)
    torch.testing.assert_close(focus.location_instability_own_class(layer, probe), code, **close)


def with_peaks(position, mask):
    """Units of random height that peak at these positions."""
    height = 1 + torch.rand(position.shape, generator=torch.Generator().manual_seed(2))
    maps = torch.nn.functional.one_hot(position, 36) * height[..., None]
    maps = maps.reshape(*position.shape, 6, 6)
    return make_probe(maps, torch.arange(len(position)) % 4, make_concepts(mask))


def test_peaks_anywhere_score_the_null_and_jitter_moves_towards_it():
    position, mask = moving_landmark(400)
    generator = torch.Generator().manual_seed(1)
    values = []
    for reach in (0, 1, 2, 3, 4):
        step = torch.randint(-reach, reach + 1, (2, 400, 30), generator=generator)
        row = (position[:, None] // 6 + step[0]).clamp(0, 5)
        column = (position[:, None] % 6 + step[1]).clamp(0, 5)
        layer, probe = with_peaks(6 * row + column, mask)
        values.append(focus.location_instability(layer, probe).mean().item())
    assert values == sorted(values) and values[0] == 0
    layer, probe = with_peaks(torch.randint(36, (400, 30), generator=generator), mask)
    anywhere = focus.location_instability(layer, probe).mean().item()
    assert anywhere == pytest.approx(focus.peaks_anywhere(layer, probe), rel=0.05)


def test_half_of_the_peaks_astray_are_less_stable_than_all():
    """What the docstring warns of: the metric is not monotone in the share of stray peaks."""
    position, mask = moving_landmark(400)
    generator = torch.Generator().manual_seed(1)
    astray = torch.randint(36, (400, 30), generator=generator)
    lost = torch.rand(400, 30, generator=generator) < 0.5
    half = focus.location_instability(
        *with_peaks(torch.where(lost, astray, position[:, None]), mask)
    )
    assert half.mean() > 1.1 * focus.location_instability(*with_peaks(astray, mask)).mean()


def test_fewer_than_ten_active_images_are_undefined():
    position, mask = moving_landmark(9)
    unit = torch.nn.functional.one_hot(position, 36).float().reshape(9, 1, 6, 6)
    layer, probe = make_probe(unit, torch.zeros(9).long(), make_concepts(mask))
    assert focus.location_instability(layer, probe).isnan().all()


def test_without_landmarks_the_error_says_so():
    layer, probe = random_probe()
    object.__setattr__(probe, "concepts", None)
    with pytest.raises(ValueError, match="landmark"):
        focus.location_instability(layer, probe)
