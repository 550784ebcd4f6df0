"""What a definition leaves to a rule stays as its study was begun."""

from branchfold.studies.definition.deciding import as_begun, with_training, without_rule
from branchfold.studies.definition.dimensions import AUTO, Choices, Fixed
from branchfold.studies.definition.reading import load_definition, parse_definition, parse_stored


def training(definition):
    return definition.space.training.distillation, definition.space.training.augment


def test_auto_is_what_the_study_was_begun_with():
    given = load_definition("digits")
    assert training(given) == (Fixed(AUTO), Fixed(AUTO))
    begun = with_training(given, distillation=Fixed(0.5), augment=Fixed("flip"))
    assert training(as_begun(given, begun)) == (Fixed(0.5), Fixed("flip"))
    assert as_begun(given, begun).fingerprint() == begun.fingerprint()
    assert parse_definition(begun.to_dict()) == begun


def test_what_is_said_is_no_ones_else():
    given = load_definition("digits", ["space.training.distillation=0.9"])
    begun = with_training(given, distillation=Fixed(0.5), augment=Fixed("flip"))
    assert training(as_begun(given, begun)) == (Fixed(0.9), Fixed("flip"))


def test_a_search_that_was_taken_out_is_a_change():
    begun = load_definition("digits", ["space.training.distillation=[0.0, 0.5]"])
    given = load_definition("digits")
    assert training(as_begun(given, begun))[0] == Fixed(AUTO)


def test_without_a_rule_there_is_no_distillation():
    assert training(without_rule(load_definition("digits"))) == (Fixed(0.0), Fixed(True))
    said = load_definition("digits", ["space.training.distillation=[0.0, 0.5]"])
    assert training(without_rule(said)) == (Choices((0.0, 0.5)), Fixed(True))


def test_a_study_of_a_version_without_the_keys_goes_on_without():
    tables = load_definition("digits").to_dict()
    for key in ("distillation", "augment"):
        del tables["space"]["training"][key]
    assert training(parse_stored(tables, "x")) == (Fixed(0.0), Fixed(True))
