"""`sweeper export tensorboard|wandb|mlflow`: each tool's own reader finds the rows, once, whatever happened before."""

import json
import math
import shutil
import struct
import subprocess
import sys

import pytest
from conftest import environment

from sweeper.export.runs import MARK, UNFINISHED, runs_of

TOOLS = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}
READ_BY = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
WHY = "needs the extra {0} and the tool that reads it: pip install 'sweeper[{0}]' {1}"


@pytest.fixture(params=TOOLS)
def tool(request):
    """A tool of which writer and reader are installed."""
    for name in (TOOLS[request.param], READ_BY[request.param]):
        pytest.importorskip(name, reason=WHY.format(request.param, READ_BY[request.param]))
    return request.param


@pytest.fixture(scope="module")
def grid():
    return [
        {"rho": [0.9, 1], "seed": [0, 1]},
        {"rho": 0.9, "seed": 0, "activation": "relu", "learning_rate": 1e3},
    ]


@pytest.fixture
def study(tiny, grid):
    """Four cells of a curve, and one that diverged."""
    made = tiny(train={"steps": 20}, evaluation={"every": 10})
    text = json.loads(made.path.read_text())
    text["cells"] = [text["cells"] | block for block in grid]
    made.path.write_text(json.dumps(text))
    made.trained()
    assert {row["state"] for row in rows(made)} == {"done", "diverged"}
    return made


def rows(study):
    return study.opened().read("cells")[0].to_pylist()


def history(study):
    return study.opened().read("history")[0].to_pylist()


def exported(study, tool, place):
    """What a run of the command says, as values."""
    argv = [sys.executable, "-m", "sweeper", "export", tool, str(study.store), "--output", str(place), "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as run:
        out, err = run.communicate()
    assert run.returncode == 0 and err == "", err
    return json.loads(out)


def of_tensorboard(place):
    """By cell: parameters, results, curves, read by TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    found = {}
    for folder in place.iterdir():
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        scalars = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        parameters = {}
        content = events.summary_metadata.get(metadata.SESSION_START_INFO_TAG)
        if content:
            info = metadata.parse_session_start_info_plugin_data(content.plugin_data.content)
            parameters = {k: getattr(v, v.WhichOneof("kind")) for k, v in info.hparams.items()}
        results = {k: v for k, v in scalars.items() if k.startswith("result/")}
        assert all(len(points) == 1 for points in results.values())
        curves = {k: v for k, v in scalars.items() if k.startswith("history/")}
        name = json.loads((folder / MARK).read_text())["cell_id"]
        assert name not in found
        found[name] = parameters, {k: v[0][1] for k, v in results.items()}, curves
    return found


def records(path):
    """The records of a log of LevelDB's format, which is that of wandb's files: their reader is in its Go program.

    After 7 bytes of wandb's own, blocks of 32 KiB with pieces of records, each after checksum, length and kind (whole,
    first, middle, last); a piece does not begin in the last 6 bytes of a block.
    """
    data, at, record = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def of_wandb(place):
    """The same, from the logs of offline runs, whose records wandb's own classes decode."""
    from wandb.proto import wandb_internal_pb2

    found = {}
    for path in place.glob("*/wandb/offline-run-*/run-*.wandb"):
        parameters, results, curves, name = {}, {}, {}, None
        for data in records(path):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                name = record.run.run_id
                parameters |= {i.key: json.loads(i.value_json) for i in record.run.config.update if i.key != "_wandb"}
            elif kind == "summary":
                results |= {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.summary.update}
            elif kind == "history":
                items = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.history.item}
                for tag, value in items.items():
                    if tag.startswith("history/"):
                        curves.setdefault(tag, []).append((items["_step"], value))
        assert name is not None and name not in found
        found[name] = parameters, {k: v for k, v in results.items() if k.startswith("result/")}, curves
    return found


def of_mlflow(place):
    """The same, from its database."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{place}/mlflow.db")
    found = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            name = run.data.tags["sweeper.cell_id"]
            assert name not in found and run.info.status == (
                "FAILED" if run.data.tags["state"] == "diverged" else "FINISHED"
            )
            curves = {
                tag: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, tag)]
                for tag in run.data.metrics
                if tag.startswith("history/")
            }
            results = {k: v for k, v in run.data.metrics.items() if k.startswith("result/")}
            found[name] = run.data.params, results, curves
    return found


READERS = {"tensorboard": of_tensorboard, "wandb": of_wandb, "mlflow": of_mlflow}


def check(study, found, single):
    """Every cell once, with its fields, results and curves. single: the tool keeps float32."""
    near = (lambda v: pytest.approx(v, rel=1e-6)) if single else (lambda v: pytest.approx(v, rel=1e-14))
    along = history(study)
    assert found.keys() == {row["cell_id"] for row in rows(study)}
    for row in rows(study):
        parameters, results, curves = found[row["cell_id"]]
        if row["state"] == "done":
            assert float(parameters["rho"]) == row["rho"] and str(parameters["latents"]) == "3-2"
            assert float(parameters["seed"]) == row["seed"] and parameters["architecture"] == row["architecture"]
            assert results["result/elbo"] == near(row["elbo"])
            assert results["result/kl_layer_2"] == near(row["kl_per_layer"][1]) == near(row["kl_top"])
            assert results["result/active_units_layer_1"] == row["active_units"][0]
        else:
            assert "result/elbo" not in results
        points = [(h["step"], h["kl_top"]) for h in along if h["cell_id"] == row["cell_id"]]
        points = [(step, value) for step, value in points if math.isfinite(value)]
        assert [step for step, _ in curves.get("history/kl_top", [])] == [step for step, _ in points]
        assert [value for _, value in curves.get("history/kl_top", [])] == near([value for _, value in points])


@pytest.mark.filterwarnings("ignore")  # of the tools' readers
def test_the_tools_own_reader_finds_every_cell_once(tool, study, tmp_path):
    """Exported once; again, which adds nothing; and after the study has grown, which replaces what changed."""
    place, read, single = tmp_path / "it's there", READERS[tool], tool == "tensorboard"
    assert exported(study, tool, place) == {"output": str(place), "runs": 5, "written": 5}
    check(study, read(place), single)
    assert exported(study, tool, place)["written"] == 0
    check(study, read(place), single)
    text = json.loads(study.path.read_text())
    text["cells"][0]["rho"] = [0.9, 0.95, 1]
    text["train"]["steps"] = 30
    study.path.write_text(json.dumps(text))
    study.run()
    assert exported(study, tool, place) == {"output": str(place), "runs": 7, "written": 6}  # but for what diverged
    check(study, read(place), single)


@pytest.mark.parametrize("missing", TOOLS)
def test_a_missing_package_is_one_line(tiny, sweeper_command, missing):
    study = tiny(cells={"rho": 0.9, "seed": 0}, train={"steps": 2}).trained()
    run = sweeper_command.run(["export", missing, str(study.store)], faults={"absent": TOOLS[missing]})
    assert run.code == 2 and run.out == "" and len(run.err.splitlines()) == 1
    assert f'needs a package more: pip install "sweeper[{missing}]"' in run.err
    assert not (study.store / "analysis" / missing).exists()


def test_what_an_export_did_not_write_stays(study, sweeper_command, tmp_path):
    """A folder of a cell's name, and what a killed export left."""
    pytest.importorskip("tensorboardX", reason=WHY.format("tensorboard", ""))
    run = runs_of(rows(study), history(study))[-1]
    theirs = tmp_path / "out" / run.folder
    theirs.mkdir(parents=True)
    (theirs / "notes.txt").write_text("mine")
    argv = ["export", "tensorboard", str(study.store), "--output", str(tmp_path / "out"), "--json"]
    refused = sweeper_command.run(argv)
    assert refused.code == 2 and "was not written by an export" in refused.err
    assert (theirs / "notes.txt").read_text() == "mine" and "Traceback" not in refused.err
    shutil.rmtree(theirs)
    (tmp_path / "out" / f"{UNFINISHED}{run.folder}").mkdir()
    assert json.loads(sweeper_command.run(argv).out)["written"] == 1  # the others were in place
    assert not list((tmp_path / "out").glob(f"{UNFINISHED}*"))


def test_runs_are_named_for_people_and_told_apart(study):
    runs = runs_of(rows(study), history(study))
    assert len({run.folder for run in runs}) == len({run.digest for run in runs}) == 5
    named = {run.name: run for run in runs if not run.diverged and run.parameters["rho"] == 0.9}
    run = named["ou ρ 0.9 seed 1"]
    assert run.group == "digits mlp 3-2 (8)" and run.folder.startswith("digits-mlp-3-2-8-ou-rho-0.9-seed-1-")
    assert run.begun < run.ended and run.notes["state"] == "done" and run.parameters["activation"] == "tanh"
