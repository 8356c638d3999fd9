"""Recipes refuse unknown fields and impossible values, and cannot be changed."""

import pytest
from pydantic import ValidationError

from legible.bench.training.recipe import Recipe


@pytest.mark.parametrize(
    ("field", "value"),
    [("epoch", 3), ("epochs", -1), ("batch", 0), ("lr", 0), ("momentum", 1), ("warmup", 1.5),
     ("optimizer", "lion"), ("precision", "fp16"), ("clip", 0), ("validate_images", 0)],
)  # fmt: skip
def test_unknown_fields_and_impossible_values_are_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        Recipe(**{field: value})


def test_a_recipe_cannot_be_changed_and_survives_json():
    recipe = Recipe(epochs=3, clip=1.0, watch=("accuracy",))
    with pytest.raises(ValidationError, match="frozen"):
        recipe.epochs = 4
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_later_fields_at_their_defaults_do_not_tell_recipes_apart():
    """Published ledgers and runs were made before these fields existed."""
    assert not {"freeze", "backbone_lr"} & set(Recipe().identity())
    changed = Recipe(freeze="conv1", augment=False, backbone_lr=0.1).identity()
    assert (changed["freeze"], changed["backbone_lr"]) == ("conv1", 0.1)
    assert Recipe(epochs=3).identity() != Recipe().identity()
