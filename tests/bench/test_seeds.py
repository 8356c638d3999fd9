"""Seeds of random streams: a change of these numbers would change every run."""

from legible.bench.seeds import stream


def test_the_seeds_stay_the_same_for_ever():
    assert stream(0, "data") == 58039215057469803
    assert stream(1, "data") == 27443967899939341
    assert stream(0, "augment", 3) == 7449869091729889


def test_seeds_differ_by_run_name_and_number_and_fit_in_56_bits():
    seeds = {stream(run, name, i) for run in range(10) for name in "ab" for i in range(10)}
    assert len(seeds) == 200 and all(0 <= seed < 2**56 for seed in seeds)
