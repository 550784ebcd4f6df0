from branchfold.studies.definition import earlier
from branchfold.studies.definition.earlier import completed
from branchfold.studies.definition.reading import describe_difference, load_definition, stored_fingerprint


def test_keys_that_came_later_mean_what_was_done_before_them(monkeypatch):
    monkeypatch.setattr(earlier, "WHEN_ABSENT", {"search.startup_trials": 3, "space.keep.multiple": 2, "new.key": 1})
    stored = {"search": {"sampler": "tpe"}, "space": {"keep": {"multiple": 8}}}
    assert completed(stored) == {
        "search": {"sampler": "tpe", "startup_trials": 3},
        "space": {"keep": {"multiple": 8}},
        "new": {"key": 1},
    }
    assert stored == {"search": {"sampler": "tpe"}, "space": {"keep": {"multiple": 8}}}


def without(fingerprint, table, key):
    return {**fingerprint, table: {name: value for name, value in fingerprint[table].items() if name != key}}


def test_a_fingerprint_without_a_key_has_todays_default_or_the_value_of_then(monkeypatch):
    definition = load_definition("digits", ["search.startup_trials=10"])  # the default
    today = definition.fingerprint()
    old = without(today, "search", "startup_trials")
    assert describe_difference(stored_fingerprint(old, "x"), today) is None
    monkeypatch.setattr(earlier, "WHEN_ABSENT", {"search.startup_trials": 3})
    difference = describe_difference(stored_fingerprint(old, "x"), today)
    assert difference == "search.startup_trials was 3 and is now 10"
    given = load_definition("digits", ["search.startup_trials=3"]).fingerprint()
    assert describe_difference(stored_fingerprint(old, "x"), given) is None
