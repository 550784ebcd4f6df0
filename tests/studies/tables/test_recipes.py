from branchfold.search.space.recipe import Recipe, Stages, Training
from branchfold.studies.tables.recipes import differences, recipe_line, recipe_sentences


def test_a_recipe_in_words():
    training = Training(lr=0.0123456, distillation=0.5, precision="bfloat16")
    stages = Stages(count=3, order="sensitivity", windows="own")
    recipe = Recipe("knee", {"threshold": 0.25}, 0.5, {"a": 2}, training, stages, channels="l1", blending="probability")
    words = recipe_sentences(recipe.to_dict(), 0.3)
    assert words[0].startswith("Branches: least-squares (branches are fitted to data); channels: l1 (those with ")
    assert words[1] == (
        "Schedule: knee (α falls fast above a threshold and slowly below it) with threshold 0.25; "
        "every α is 0 after 50 % of the trial."
    )
    assert words[2] == (
        "Stages: 3, sensitivity (what loses least first); own (the groups of a stage fade one after another)."
    )
    assert words[3].startswith("Blending: probability (each example hears")
    assert words[4] == (
        "Training for 0.30 epochs of the full network's compute: learning rate 0.0123, one-cycle (rises to its peak "
        "and falls to almost 0), weight decay 0.0005, distilled from it with weight 0.5, bfloat16."
    )
    unknown = Recipe("mine", {}, 1.0, {}, training, method="own")
    assert recipe_sentences(unknown.to_dict())[:2] == [
        "Branches: own; channels: greedy (the channels that explain most of what the readers still miss).",
        "Schedule: mine; every α is 0 after 100 % of the trial.",
    ]


def test_a_recipe_in_a_line():
    training, stages = Training(lr=0.0123456, distillation=0.5), Stages(count=3, order="sensitivity")
    recipe = Recipe("knee", {"threshold": 0.25}, 0.5, {"a": 2}, training, stages, method="kaiming")
    assert recipe_line(recipe.to_dict()) == (
        "knee over 50 % of the trial, 3 stages by sensitivity, convex blending, kaiming branches, learning rate 0.012, "
        "distilled at 0.5"
    )
    at_once = Recipe("instant", {}, 0.0, {}, Training(lr=0.1), blending="uniform")
    assert recipe_line(at_once.to_dict()) == "folded at once, learning rate 0.1"


def test_what_two_recipes_have_different():
    first = Recipe("knee", {"threshold": 0.25}, 0.5, {"a": 2}, Training(lr=0.1), Stages(sequence=("a",)))
    second = Recipe("linear", {}, 0.5, {"a": 3}, Training(lr=0.2), Stages(sequence=("b",)))
    assert differences(first.to_dict(), second.to_dict()) == [
        ("shape", "knee", "linear"),
        ("parameters.threshold", "0.25", "-"),
        ("training.lr", "0.1", "0.2"),
    ]
