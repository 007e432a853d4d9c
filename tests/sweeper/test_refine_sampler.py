"""The sampler on Optuna studies of its own: asked and told, in a loop, by several workers, and after a kill."""

from itertools import product

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from sweeper.refine.sampler import Linear, OnsetSampler
from tests.sweeper.synthetic import broken, planted

TRUTH = planted(broken, 0.05, 0.1)
SCOUT = [(rho, 0) for rho in (0.8, 0.95, 1.0)]


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def measured(rho, seed):
    """A planted cell: 1 % noise, 3 % scatter of the seeds' places."""
    place, noise = (np.random.default_rng([seed, key]).normal() for key in (0, 1 + round(1e9 * rho)))
    return float(broken(np.array([round(1 - rho, 12)]), 0.05 * np.exp(0.03 * place))[0] + 0.12 * noise)


def objective(trial):
    return measured(trial.suggest_float("rho", 0, 1), trial.suggest_int("seed", 0, 1000))


def asked(study):
    return [(trial.params["rho"], trial.params["seed"]) for trial in study.get_trials()]


def test_optimize_ends_when_the_target_is_met():
    sampler = OnsetSampler(SCOUT, half_width=0.05, trials=80)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=80)
    found = sampler.transition(study).onset
    assert sampler.advice(study).state == "met" and len(study.trials) < 80
    assert found.low_wide < TRUTH < found.high_wide


def test_a_killed_search_goes_on_from_its_storage(tmp_path):
    """A new process has nothing but the storage: the same trials follow as without the kill."""
    straight = optuna.create_study(sampler=OnsetSampler(SCOUT, 0.05, 60))
    straight.optimize(objective, n_trials=60)
    storage, ended = JournalStorage(JournalFileBackend(str(tmp_path / "journal"))), False
    while not ended:
        sampler = OnsetSampler(SCOUT, 0.05, 60)
        study = optuna.create_study(sampler=sampler, storage=storage, study_name="killed", load_if_exists=True)
        for _ in range(4):
            if not sampler.advice(study).points:
                ended = True
                break
            trial = study.ask()
            study.tell(trial, objective(trial))
    assert asked(study) == asked(straight)


def test_several_workers_ask_without_waiting_and_never_for_the_same():
    sampler = OnsetSampler(product((0.8, 0.95, 1.0), range(2)), 0.05, 80)
    study, running = optuna.create_study(sampler=sampler), []
    while sampler.advice(study).points or running:
        while len(running) < 4 and sampler.advice(study).points:
            trial = study.ask()
            running.append((trial, objective(trial)))
        study.tell(*running.pop(len(study.trials) % len(running)))
    assert sampler.advice(study).state == "met"
    assert len(set(asked(study))) == len(asked(study)) <= 60


def test_without_a_parameter_for_the_seed_repeats_are_replicates():
    """Each value three times at least where it counts; and a parameter in steps is kept to its steps."""
    rng = np.random.default_rng(3)
    sampler = OnsetSampler([(0.8, 0), (1.0, 0)], 0.01, 60)
    study = optuna.create_study(sampler=sampler)
    study.optimize(
        lambda trial: measured(trial.suggest_float("rho", 0, 1, step=0.01), 0) + 0.01 * rng.normal(), n_trials=60
    )
    found = sampler.transition(study).onset
    assert sampler.advice(study).state == "stuck" and len(study.trials) < 25
    assert found.value == pytest.approx(TRUTH, abs=0.005) and len(found.seeds) == 3
    assert all(round(100 * trial.params["rho"], 6).is_integer() for trial in study.trials)


def test_another_parameter_on_a_linear_scale():
    """A rise with temperature, from a floor on the low side: the coordinate is the value itself."""
    axis = Linear("temperature", "low", "T", "temperature")
    sampler = OnsetSampler([(0.0, 0), (5.0, 0)], 0.05, 80, "temperature", "replicate", axis)
    study = optuna.create_study(sampler=sampler)

    def rise(trial):
        temperature = trial.suggest_float("temperature", 0, 5)
        return max(temperature - 1.7 - 0.02 * (trial.suggest_int("replicate", 0, 100) % 3), 0)

    study.optimize(rise, n_trials=80)
    assert sampler.advice(study).state == "met"
    assert sampler.transition(study).onset.value == pytest.approx(1.7 + 0.02 + 0.33, abs=0.05)


def test_failed_trials_are_counted_and_not_asked_again():
    sampler = OnsetSampler(SCOUT, 0.05, 60)
    study = optuna.create_study(sampler=sampler)

    def failing(trial):
        value = objective(trial)
        if trial.number in (1, 5):
            raise ArithmeticError
        return value

    study.optimize(failing, n_trials=60, catch=ArithmeticError)
    assert [trial.number for trial in study.trials if trial.state == TrialState.FAIL] == [1, 5]
    assert len(set(asked(study))) == len(asked(study))
    assert sampler.advice(study).state == "met" and sampler.transition(study).onset.n_diverged == 2


def test_asked_when_nothing_is_left_it_suggests_what_was_not_measured_yet():
    """Optuna has no way to decline."""
    sampler = OnsetSampler(SCOUT, 0.05, 60)
    study = optuna.create_study(sampler=sampler)
    for _ in range(3):
        objective(study.ask())
    assert sampler.advice(study).state == "wait"
    for _ in range(3):
        objective(study.ask())
    assert len(set(asked(study))) == 6


def test_what_it_cannot_do_is_refused():
    sampler = OnsetSampler(SCOUT, 0.05, 60)
    with pytest.raises(ValueError, match="knows 'rho' and 'seed', not 'depth'"):
        optuna.create_study(sampler=sampler).ask().suggest_int("depth", 1, 3)
    with pytest.raises(ValueError, match="multi-objective"):
        optuna.create_study(sampler=sampler, directions=["minimize"] * 2).ask().suggest_float("rho", 0, 1)
