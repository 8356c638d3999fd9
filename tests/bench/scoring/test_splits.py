"""The held-out images and concepts of each stage."""

import torch

from legible.bench.scoring.splits import scoring_images, tuning_names


def test_the_halves_share_no_concept_and_leave_none_out(toy):
    names = {
        stage: scoring_images(toy, "test", stage, 40).concepts.names
        for stage in ("", "tuning", "final")
    }
    assert set(names["tuning"]) | set(names["final"]) == set(names[""])
    assert not set(names["tuning"]) & set(names["final"])
    assert len(names["tuning"]) == 1 and len(names["final"]) == 2


def test_reserved_concepts_are_left_out_in_every_stage(toy):
    for stage in ("", "tuning", "final"):
        whole = scoring_images(toy, "test", stage, 40).concepts
        name = whole.names[-1]
        rest = scoring_images(toy, "test", stage, 40, frozenset({name})).concepts
        assert rest.names == whole.names[:-1]
        assert torch.equal(rest.packed, whole.packed[:, :-1])


def test_each_category_is_halved_in_any_order():
    names = [f"part {i}" for i in range(10)] + [f"colour {i}" for i in range(5)]
    categories = ["part"] * 10 + ["colour"] * 5
    half = tuning_names(names, categories)
    assert sum(n.startswith("part") for n in half) == 5
    assert sum(n.startswith("colour") for n in half) == 2
    assert tuning_names(names[::-1], categories[::-1]) == half


def test_tuning_uses_validation_images_and_the_final_score_test_images(toy):
    tuning, final = (scoring_images(toy, "test", stage, 40) for stage in ("tuning", "final"))
    assert torch.equal(tuning.images, toy.validation.images[:40])
    assert torch.equal(final.images, toy.test.images[:40])
    whole = scoring_images(toy, "test", "", 40)
    assert torch.equal(whole.concepts.packed, toy.test.concepts.packed[:40])
    training = scoring_images(toy, "train", "tuning", 40)
    assert torch.equal(training.images, toy.train.images[:40])
    assert training.concepts.names == tuning.concepts.names


def test_a_split_with_fewer_images_is_used_whole(toy):
    assert len(scoring_images(toy, "test", "", 1000)) == len(toy.test)
