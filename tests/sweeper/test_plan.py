"""Plans: what is missing, why, and the jobs that bring it to workers."""

import json
import subprocess
import sys

import pytest
from conftest import environment

from models.cell import cell_id, cell_size, cell_work
from models.evaluation.settings import Evaluation
from sweeper.cli.words import plan as words
from sweeper.cli.words.plan import plan_lines
from sweeper.errors import StudyError
from sweeper.machine import Machine
from sweeper.planning import Job, estimate, make_plan
from sweeper.planning.jobs import MAX_CPU_STACK, MAX_CPU_STACK_OF_SMALL
from sweeper.store import Store
from sweeper.store.names import row_name

HERE = Machine(cores=4, memory_bytes=8 << 30, gpu_memory_bytes=())
GPUS = Machine(cores=16, memory_bytes=64 << 30, gpu_memory_bytes=(80 << 30, 80 << 30))
RAYS = {"executor": "ray"}
RAY = RAYS | {"max_stack": 0}


def sizes(plan):
    return sorted(len(job.cells) for job in plan.jobs)


def test_every_missing_cell_is_in_one_order_of_its_shape_and_the_longest_comes_first(tiny):
    grid = {"latents": ["3-2", "3-2-2"], "rho": [0.5, 0.8, 0.9, 1], "seed": list(range(5))}
    plan = make_plan(tiny(cells=grid, run=RAY).load(), None, HERE)
    ids = [name for job in plan.jobs for name in job.cell_ids]
    assert sorted(ids) == sorted(item.cell_id for item in plan.missing) and len(set(ids)) == 40
    assert all(len({cell.shape() for cell in job.cells}) == 1 for job in plan.jobs)
    works = [cell_work(job.cells[0], job.start, job.steps) * len(job.cells) for job in plan.jobs]
    assert works == sorted(works, reverse=True)
    assert len({job.name for job in plan.jobs}) == len(plan.jobs)


@pytest.mark.parametrize(
    ("cells", "workers", "expected"),
    [
        (1, 4, [1]),
        (4, 4, [1, 1, 1, 1]),  # a stack each rather than one stack for all
        (10, 4, [2, 2, 3, 3]),
        (3 * MAX_CPU_STACK, 3, [MAX_CPU_STACK] * 3),
        (2 * MAX_CPU_STACK + 1, 2, [6, 6, 6, 7]),  # in full rounds: three stacks would leave a worker idle for a round
    ],
)
def test_all_workers_get_work(tiny, cells, workers, expected):
    study = tiny(
        cells={"rho": 0.9, "seed": list(range(cells))}, run={"workers": workers, "max_stack": MAX_CPU_STACK} | RAYS
    )
    plan = make_plan(study.load(), None, HERE)
    assert sizes(plan) == expected
    assert plan.workers == min(workers, len(expected))


def test_as_many_workers_as_cores_or_gpus(tiny):
    study = tiny(cells={"seed": list(range(40))}, run=RAY | {"device": "auto"})
    assert make_plan(study.load(), None, HERE).workers == 4
    assert make_plan(study.load("run.threads=2"), None, HERE).workers == 2
    on_gpus = make_plan(study.load(), None, GPUS)
    assert on_gpus.device == "cuda" and on_gpus.workers == 2 and sizes(on_gpus) == [40, 80]
    assert make_plan(study.load("run.device=cpu"), None, GPUS).device == "cpu"
    assert make_plan(study.load("run.executor=inline"), None, HERE).workers == 1


def test_stacks_fit_the_memory_budget(tiny):
    study = tiny(cells={"rho": 0.9, "seed": list(range(8))}, run=RAY | {"workers": 1})
    cell = study.load().cells[0]
    budget = 3.5 * cell_size(cell).memory_bytes / 1e9
    assert sizes(make_plan(study.load(f"run.memory_gb={budget}"), None, HERE)) == [2, 3, 3]
    assert sizes(make_plan(study.load("run.memory_gb=1e-6"), None, HERE)) == [1] * 8
    small = Machine(cores=1, memory_bytes=int(4.5 * cell_size(cell).memory_bytes), gpu_memory_bytes=())
    assert sizes(make_plan(study.load(), None, small)) == [2] * 4  # half of what is available
    assert sizes(make_plan(study.load("run.max_stack=5"), None, HERE)) == [4, 4]
    assert make_plan(study.load(), None, HERE).memory_bytes == 8 * cell_size(cell).memory_bytes


def test_small_cells_make_larger_stacks(tiny):
    """A large cell fills a core with a dozen; of small ones the fixed cost of a step wants more."""
    grid = {"rho": 0.9, "seed": list(range(192))}
    assert max(sizes(make_plan(tiny(cells=grid, run=RAY).load(), None, HERE))) == MAX_CPU_STACK_OF_SMALL
    large = grid | {"data": "mnist", "latents": "40-40-40-40", "hidden": "200-200", "batch_size": 64}
    assert max(sizes(make_plan(tiny(cells=large, run=RAY).load(), None, HERE))) == MAX_CPU_STACK


def test_a_gpu_that_is_not_there_is_refused(tiny):
    with pytest.raises(StudyError, match="there is no"):
        make_plan(tiny().load("run.device=cuda"), None, HERE)
    assert make_plan(tiny().load("run.device=cuda"), None, GPUS).device == "cuda"


def test_what_a_processor_only_imitates_is_said(tiny, monkeypatch):
    """Cut operands cost time on a CPU and save it on a GPU; a CPU may multiply bfloat16 by itself."""
    monkeypatch.setattr(words, "compiler", lambda: "cc")
    monkeypatch.setattr(words, "bfloat16_unit", lambda: None)
    study = tiny(cells={"precision": ["float32", "tf32", "bfloat16"]}).load("run.device=auto")
    line = "bfloat16 and tf32 without a GPU: each operand is cut before its product, slower than float32"
    assert line in plan_lines(make_plan(study, None, HERE), None)
    assert not any("slower" in each for each in plan_lines(make_plan(study, None, GPUS), None))
    monkeypatch.setattr(words, "bfloat16_unit", lambda: "amx")
    lines = plan_lines(make_plan(study, None, HERE), None)
    assert "bfloat16: this machine's processor multiplies it (AMX)" in lines
    assert "tf32 without a GPU: each operand is cut before its product, slower than float32" in lines


def test_a_warm_up_that_outlasts_the_training_is_said_with_the_weight_at_its_end(tiny):
    """Before anything is trained, of the cells whose β does not come to its end; none where it does."""
    delayed = {"objective": ["vae", "iwae"], "rho": None, "smoothing_samples": None, "kl_delay_steps": 10, "seed": 0}
    study = tiny(cells=delayed | {"kl_warmup_steps": [20, 500]}).load("train.steps=60")
    lines = [line for line in plan_lines(make_plan(study, None, HERE), None) if "KL weight" in line]
    assert lines == [
        "warning: training ends at step 60, before the warm-up of the KL weight at step 510: the KL weight is then 0.1 "
        "(2 cells)"
    ]
    assert not any("KL weight" in line for line in plan_lines(make_plan(tiny().load(), None, HERE), None))


def test_an_order_travels_as_json(tiny):
    job = make_plan(tiny().load(), None, HERE).jobs[0]
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_the_images_of_the_bound_are_counted_against_each_data_set(tiny):
    """2,000 are some of MNIST's test images and all of the digits': there rows of older stores count as they did."""
    study = tiny(cells={"data": ["digits", "mnist"], "seed": 0}, evaluation={"images": 0}).load()
    jobs = {job.cells[0].data: job for job in make_plan(study, None, HERE).jobs}
    assert jobs["digits"].evaluation.importance_images == 0
    assert jobs["mnist"].evaluation.importance_images == 2000
    assert jobs["digits"].evaluation.id() != jobs["mnist"].evaluation.id()


def test_a_row_with_k_chains_on_all_images_serves_a_study_that_asks_for_some(tiny):
    """It is worth more: nothing is evaluated anew, or trained where no state was kept. The other way round it is."""
    study = tiny(cells={"data": "mnist", "rho": 1, "seed": 0}, evaluation={"images": 0})
    (cell,) = study.load().cells
    on_all, on_some = Evaluation(importance_samples=5), Evaluation(importance_samples=5, importance_images=2000)
    for there, asked, action in ((on_all, "2000", "done"), (on_all, "0", "done"), (on_some, "0", "train")):
        store = Store.create(study.store.with_name(f"{there.id()} {asked}"))
        store.paths.new_row("cells", row_name(cell_id(cell), 60, there.id())).touch()
        (item,) = make_plan(study.load(f"evaluation.importance_images={asked}"), store, HERE).items
        assert item.action == action


def test_why_each_cell_is_to_run(tiny):
    study = tiny(cells={"rho": [0.8, 1], "seed": 0}, train={"steps": 20}, evaluation={"every": 0})

    def whys(*sets):
        store = Store.open(study.store) if study.store.exists() else None
        plan = make_plan(study.load(*sets), store, HERE)
        return {(item.action, item.start, item.steps, item.why) for item in plan.items}

    assert whys() == {("train", 0, 20, "new")}
    study.run()
    assert whys() == {("done", 20, 20, "finished")}
    assert whys("train.steps=10") == {("done", 10, 10, "finished")}
    assert whys("train.steps=2000") == {("continue", 20, 2000, "2,000 steps asked, 20 done")}
    assert whys("evaluation.images=30") == {("evaluate", 20, 20, "evaluated with other settings")}
    for row in study.opened().paths.rows("cells").iterdir():
        row.unlink()
    assert whys() == {("continue", 20, 20, "stopped at step 20")}
    for name in study.opened().states():
        study.opened().remove_state(name)
    assert whys() == {("train", 0, 20, "new")}
    study.run("train.keep=none")
    assert whys("train.steps=30") == {("train", 0, 30, "30 steps asked, 20 done, and no state to train on was kept")}
    assert whys("evaluation.images=30") == {
        ("train", 0, 20, "evaluated with other settings, and its state was not kept")
    }


def test_cost_comes_from_timings_of_the_same_shape_on_the_same_device(tiny):
    study = tiny(cells={"rho": [0.8, 0.9], "seed": 0}, train={"steps": 20}, evaluation={"every": 0})
    study.run()
    more = make_plan(study.load("train.steps=1020"), study.opened(), HERE)
    times = estimate.times_of(more, study.opened())
    (step_s,) = times.values()
    cost = estimate.estimate(more, times, "from a test")
    assert cost is not None and cost.device_s == pytest.approx(2 * 1000 * step_s)
    assert cost.device_s / 2 <= cost.wall_s <= cost.device_s
    other = make_plan(study.load("cells.hidden=9"), study.opened(), HERE)
    assert estimate.estimate(other, times, "") is None
    # Rows of cells that the study does not ask for serve as well, where it has none of a shape.
    unknown = make_plan(study.load("cells.rho=0.85"), study.opened(), HERE)
    assert estimate.times_of(unknown, study.opened()).keys() == times.keys()
    on_gpu = make_plan(study.load("train.steps=1020", "run.device=auto"), study.opened(), GPUS)
    assert on_gpu.device == "cuda" and estimate.times_of(on_gpu, study.opened()) == {}


def test_the_cost_of_a_plan_reads_few_rows(tiny, monkeypatch):
    """However many are finished: ten thousand would take a minute to read."""
    study = tiny(cells={"rho": 0.9, "seed": list(range(12))}, train={"steps": 2}, evaluation={"every": 0})
    study.run()
    reads = []
    monkeypatch.setattr(
        Store,
        "read_row",
        lambda self, path, *columns, real=Store.read_row: reads.append(path) or real(self, path, *columns),
    )
    for sets, expected in (([], 0), (["train.steps=9"], estimate.MAX_ROWS_PER_SHAPE)):
        reads.clear()
        plan = make_plan(study.load(*sets), study.opened(), HERE)
        assert bool(estimate.times_of(plan, study.opened())) == bool(expected) and len(reads) == expected


LIGHT = """
import sys
import sweeper.environment
from sweeper import load
from sweeper.cli import main
def undrawn(real=sweeper.environment.load_matplotlib):  # saving figures takes longer than all the rest
    real()
    from sweeper.analysis import figures
    figures.save = lambda figure, folder, name: []
sweeper.environment.load_matplotlib = undrawn
sys.argv = ["sweeper", *{argv!r}]
try:
    if {argv!r} == ["load"]:
        assert len(load({store!r})) == len(load({store!r}, "history")) // 4
    else:
        main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("IMPORTED", *sorted({{"torch", "ray", "pandas", "pyarrow", "matplotlib", "scipy"}} & set(sys.modules)))
"""


@pytest.mark.parametrize("command", ["--help", "plan", "status", "report", "load", "run"])
def test_what_trains_nothing_imports_neither_torch_nor_ray(tiny, tmp_path, command):
    study = tiny(train={"steps": 60})
    if command not in ("--help", "plan"):
        study.trained()
    executor = ["--executor", "ray"] if command == "run" else []
    argv = [command] if command in ("--help", "load") else study.argv(command, *executor)
    code = LIGHT.format(argv=argv, store=str(study.store))
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    imported = set(child.stdout.splitlines()[-1].split()[1:])
    assert not imported & {"torch", "ray"}
    if command == "--help":
        assert imported == set()
