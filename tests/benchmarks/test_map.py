"""The map: fair to both arms, resumable after any kill, and published as its runs say."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from branchfold.benchmarks.map_parts import running
from branchfold.benchmarks.map_parts.arms import ARMS, AT_ONCE, LEAST_FADE, SCHEDULE, choice_of, recipe_of
from branchfold.benchmarks.map_parts.bench import Bench, Setting
from branchfold.benchmarks.map_parts.cells import Cell, plan, queue
from branchfold.benchmarks.map_parts.ledger import FINAL, TUNING, Key, Ledger, packed, unpacked
from branchfold.benchmarks.map_parts.picture import panels, texts
from branchfold.benchmarks.map_parts.publishing import published
from branchfold.search.space import Recipe

CELLS = [Cell("compute", 0.3, 0.05, 2_000, "random"), Cell("compute", 0.3, 0.5, 2_000, "random")]
SHARED = ("lr", "augment", "distillation")


def test_the_queue_has_every_cell_once():
    assert sorted(queue()) == sorted(plan())
    assert len(plan()) == 4 * 4 * 3 * 2 + 2 * 4 * 2


@pytest.mark.parametrize("trial", range(2, 40))
def test_both_arms_draw_the_same_but_for_the_schedule(trial):
    once, schedule = (choice_of(CELLS[0], arm, trial, None) for arm in (AT_ONCE, SCHEDULE))
    assert once == {name: schedule[name] for name in SHARED}
    recipe = recipe_of(schedule, CELLS[0], {"a": 4, "b": 4}, {"a": 8, "b": 8})
    assert min(window.end for window in recipe.windows().values()) >= LEAST_FADE / 3
    assert max(window.end for window in recipe.windows().values()) == recipe.fade >= LEAST_FADE
    assert recipe.schedule()(0.05) > 0
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_no_guess_is_tried_twice():
    for arm in ARMS:
        guesses = [choice_of(CELLS[0], arm, trial, None) for trial in range(2)]
        assert choice_of(CELLS[0], arm, 2, guesses[1]) == choice_of(CELLS[0], arm, 2, None)
        assert choice_of(CELLS[0], arm, 2, {"lr": 0.07}) == {"lr": 0.07}


def test_at_once_is_folded_before_the_first_step():
    recipe = recipe_of(choice_of(CELLS[0], AT_ONCE, 0, None), CELLS[0], {"a": 4, "b": 8}, {"a": 8, "b": 8})
    assert recipe.schedule()(0.0) == 0.0
    assert recipe.stages.sequence == ("a",)
    assert recipe.method == "kaiming"


class Pruned:
    """A bench without networks: what a choice is worth is known."""

    def __init__(self):
        self.full, self.seeds = {"a": 8}, []

    def widths(self, budget):
        return {"a": 4}

    def run(self, recipe, cell, seed):
        self.seeds.append(seed)
        return SimpleNamespace(network=worth(recipe.training.lr, recipe.fade), compute=0.3, steps=10, seconds=1.0)

    def validation(self, network):
        return network

    def right(self, network):
        return np.arange(100) < 300 * network


def worth(lr, fade):
    return lr + 0.1 * (fade > 0)


def run_all(ledger, baselines, limit=10**6):
    bench = Pruned()
    for i, key in enumerate(running.missing(CELLS, baselines, ledger)):
        if i == limit:
            break
        running.run(key, bench, ledger, CELLS, {"hardware": "none"})
    return bench


def test_winners_run_on_new_seeds_and_other_baselines_only_on_these(tmp_path):
    ledger = Ledger(tmp_path)
    bench = run_all(ledger, [3, 4])
    of_cell = [key for key in ledger.lines if key.cell == CELLS[0]]
    assert len(of_cell) == len(ARMS) * (running.TRIALS + 2 * running.SEEDS)
    assert {key.baseline for key in of_cell if key.purpose == TUNING} == {3}
    finals = {key.number for key in of_cell if key.purpose == FINAL}
    tuned = set(bench.seeds) - finals
    assert len(finals) == running.SEEDS
    assert len(tuned) == 1
    for arm in ARMS:
        lines = {key: line for key, line in ledger.lines.items() if (key.cell, key.arm) == (CELLS[0], arm)}
        best = max(line["choice"]["lr"] for key, line in lines.items() if key.purpose == TUNING)
        assert {line["choice"]["lr"] for key, line in lines.items() if key.purpose == FINAL} == {best}
        assert all(("test" in line) == (key.purpose == FINAL) for key, line in lines.items())


def test_the_next_cell_tries_the_winner_of_the_nearest(tmp_path):
    ledger = Ledger(tmp_path)
    run_all(ledger, [0])
    for arm in ARMS:
        third = ledger.lines[Key(CELLS[1], arm, TUNING, 2, 0)]
        assert third["choice"] == running.winner(CELLS[0], arm, ledger)


def test_a_killed_map_goes_on_with_the_run_that_was_cut_off(tmp_path):
    whole, cut = Ledger(tmp_path / "a"), tmp_path / "b"
    (tmp_path / "a").mkdir()
    cut.mkdir()
    run_all(whole, [0])
    run_all(Ledger(cut), [0], limit=7)
    text = (cut / "runs.jsonl").read_text()
    (cut / "runs.jsonl").write_text(text[:-40])
    again = run_all(Ledger(cut), [0])
    assert len(again.seeds) == len(whole.lines) - 6
    assert Ledger(cut).lines == whole.lines


def test_bits_come_back():
    right = np.random.default_rng(0).random(1003) < 0.8
    assert (unpacked(packed(right), 1003) == right).all()


def test_what_is_published_follows_from_the_runs(tmp_path):
    ledger = Ledger(tmp_path)
    run_all(ledger, [0, 1])
    first = published(ledger, 100)[0]
    rates = {arm: running.winner(CELLS[0], arm, ledger)["lr"] for arm in ARMS}
    right = {arm: np.ceil(300 * worth(rate, arm == SCHEDULE)) / 100 for arm, rate in rates.items()}
    assert first["difference"] == pytest.approx(right[SCHEDULE] - right[AT_ONCE])
    assert first["pairs"] == 2 * running.SEEDS
    assert first["arms"][SCHEDULE]["mean"] == pytest.approx(right[SCHEDULE])
    assert json.loads(json.dumps(first))["p_holm"] <= 1


def test_a_cell_without_five_pairs_is_a_gap(tmp_path):
    ledger = Ledger(tmp_path)
    run_all(ledger, [0], limit=len(ARMS) * (running.TRIALS + running.SEEDS) - 1)
    assert published(ledger, 100) == []
    assert {text for panel in panels() for row in texts(panel, {}) for text in row} == {""}


def test_runs_of_both_arms_cost_the_same_and_see_the_images_of_their_cell(tmp_path):
    bench = Bench(Setting("digits", ("baseline.epochs=1", "trial.batch_size=64"), tmp_path), 0)
    cell = Cell("compute", 0.1, 0.2, 150, "random")
    widths, whole = bench.widths(cell.budget), bench.problem.costs.full.macs
    share = bench.problem.costs.cost(widths).macs / whole
    assert 0.99 * cell.budget <= share <= cell.budget
    assert len(bench.part(cell.images).data.train) == 150
    for arm in ARMS:
        found = bench.run(recipe_of(choice_of(cell, arm, 0, None), cell, widths, bench.full), cell, seed=1)
        # One step more than the length at most, the dearest of a branched network.
        step = 64 / len(bench.problem.data.train) * (1.2 + share)
        assert cell.length <= found.compute <= cell.length + step
    passes = cell._replace(currency="epochs", length=3)
    found = bench.run(recipe_of(choice_of(cell, AT_ONCE, 0, None), cell, widths, bench.full), passes, seed=1)
    assert found.steps == 3 * (150 // 64)
    assert found.compute == pytest.approx(share * 3 * 2 * 64 / len(bench.problem.data.train), rel=1e-6)
