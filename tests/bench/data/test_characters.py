from collections import Counter

import numpy as np

from bench.data.characters import CLASSES, PLACES, _box, class_component, place, plan_characters


def test_splits_hold_different_characters(plan):
    dealt = [i for rows in plan.members.values() for row in rows for i in row]
    assert len(dealt) == len(set(dealt)) > 1000


def test_every_class_has_characters_in_every_split(characters):
    for seed in range(3):
        everything = plan_characters(characters, len(CLASSES), seed)
        for split, least in (("train", 15), ("validation", 2), ("test", 4)):
            assert min(len(row) for row in everything.members[split]) >= least


def test_a_character_holds_exactly_one_class_component_once(plan):
    chosen = set(CLASSES[:18])
    for rows in plan.members.values():
        for element, row in zip(CLASSES, rows, strict=False):
            for character in (plan.characters[i] for i in row):
                present = [c.element for c in character.components if c.element in chosen]
                assert present == [element]


def test_clutter_comes_from_characters_without_class_components(plan):
    chosen = set(CLASSES[:18])
    for i in plan.strangers[::20]:
        assert not chosen & {c.element for c in plan.characters[i].components}


def test_landmarks_occur_once(plan):
    used = [plan.characters[i] for rows in plan.members.values() for row in rows for i in row]
    most = Counter()
    for character in used:
        most |= Counter(c.element for c in character.components) | Counter(character.types)
    for name, category, landmark in zip(plan.names, plan.categories, plan.landmark, strict=True):
        assert landmark == (category == "position" or most[name] == 1)
    assert all(plan.landmark[:18])
    assert not all(plan.landmark)


def test_concepts_have_names_of_their_own(plan):
    assert len(set(plan.names)) == len(plan.names)
    assert plan.names[:18] == list(CLASSES[:18])
    assert {"component", "stroke", "position"} == set(plan.categories)
    assert tuple(plan.names[-9:]) == PLACES


def test_strokes_belong_to_their_concepts(plan):
    i = plan.members["train"][0][0]  # a character with 木
    character = plan.characters[i]
    component = class_component(character, CLASSES[:18])
    strokes = {s for s, k in plan.belongs[i] if k == 0}
    assert strokes == set(component.strokes)
    where = {s for s, k in plan.belongs[i] if plan.names[k] == place(character, component)}
    assert where == strokes


def test_place_is_no_shortcut(plan):
    """From where its class component stands, a character's class is hard to tell: the twenty
    nearest training characters, each counted by its class's frequency, say it one time in three
    at best (a trained network is right nine times in ten)."""
    middles, labels = {}, {}
    for split in ("train", "test"):
        pairs = [
            (_box(c, class_component(c, CLASSES[:18])).mean(0), label)
            for label, row in enumerate(plan.members[split])
            for c in (plan.characters[i] for i in row)
        ]
        middles[split], labels[split] = (np.array(column) for column in zip(*pairs, strict=True))
    away = np.linalg.norm(middles["test"][:, None] - middles["train"], axis=-1)
    near = labels["train"][away.argsort(1)[:, :20]]
    votes = (near[..., None] == np.arange(18)).sum(1) / np.bincount(labels["train"])
    right = votes.argmax(1) == labels["test"]
    by_class = [right[labels["test"] == c].mean() for c in range(18)]
    assert np.mean(by_class) < 1 / 3
    for c in range(18):  # and no class stands in one place only
        spread = Counter(map(tuple, (middles["train"][labels["train"] == c] > 0.5).tolist()))
        assert max(spread.values()) < 0.9 * spread.total()


def test_another_seed_deals_otherwise(characters, plan):
    assert plan_characters(characters, 18, 0).members == plan.members
    assert plan_characters(characters, 18, 1).members != plan.members
