"""What cluster/ has, as far as it can be tried without a cluster: schemas, versions, and Slurm's part played by stubs.

The batch script runs for real, with the sweep in it; `srun` and `scontrol` are small scripts that run what they are
given here, and note what they were asked for.
"""

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import typer
from conftest import PATIENCE_S, environment, same, until
from ruamel.yaml import YAML

from sweeper.cli import app

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
SCRIPT = CLUSTER / "slurm.sh"


def load(name):
    """A YAML file of cluster/."""
    return YAML(typ="safe").load((CLUSTER / name).read_text(encoding="utf-8"))


def pinned(package):
    """The version in constraints.txt."""
    return re.search(rf"^{package}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


def options(command):
    """The options that a command of ours knows."""
    return {name for parameter in typer.main.get_command(app).commands[command].params for name in parameter.opts}


def known(line):
    """Whether a command line of ours has only options that there are."""
    words = shlex.split(line, comments=True)
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    return words[0] == "sweeper" and given <= options(words[1])


# --- Ray's cluster launcher


def test_the_cluster_file_fits_rays_schema_and_keeps_its_doors_closed():
    schema = Path(importlib.util.find_spec("ray").origin).parent / "autoscaler" / "ray-schema.json"
    made = load("ray-cluster.yaml")
    jsonschema.validate(made, json.loads(schema.read_text()))
    for kind in ("head", "worker"):
        (start,) = [each for each in made[f"{kind}_start_ray_commands"] if " start " in each]
        assert "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=~/.ray/auth_token" in start and "umask 077" in start
        assert kind == "worker" or "--include-dashboard=false" in start
    assert made["max_workers"] == len(made["provider"]["worker_ips"])
    assert any("chmod 600 ~/.ray/auth_token" in each for each in made["setup_commands"])


# --- KubeRay


def test_the_ray_job_has_the_pinned_ray_a_token_and_a_command_that_exists():
    job = load("kuberay.yaml")
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert known(spec["entrypoint"]) and "--address auto" in spec["entrypoint"] and spec["backoffLimit"] > 0
    assert cluster["rayVersion"] == pinned("ray") and cluster["authOptions"] == {"mode": "token"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in (group["template"]["spec"] for group in groups):
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        environment = {each["name"]: each["value"] for each in container["env"]}
        assert environment["SWEEPER_DATA"].startswith("/shared/") and "RAY_AUTH_MODE" not in environment
    store = shlex.split(spec["entrypoint"])[-1]
    assert store.startswith(container["volumeMounts"][0]["mountPath"])


def test_the_image_has_the_pinned_ray_and_all_that_is_installed():
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    assert f"FROM rayproject/ray:{pinned('ray')}-py311-cpu" in lines
    for words in (line.split() for line in lines if line.startswith("COPY")):
        assert all((ROOT / name).exists() for name in words[2:-1])


# --- the page


def test_the_commands_of_the_page_exist():
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    found = re.findall(r"^ {4,}(sweeper .*)$", page, re.MULTILINE)
    assert len(found) >= 4 and all(known(line) for line in found)
    for name in re.findall(r"(?<![/\w])cluster/[\w.-]+", page):
        assert (ROOT / name).exists(), name


# --- Slurm

STUBS = {
    "srun": """\
echo "srun $*" >> "$STUBS"
while [[ $1 == --* ]]; do shift; done
if [[ $1 == mkdir || $1 == rm ]]; then mkdir -p "$(dirname "${!#}")"; fi
exec "$@"
""",
    "scontrol": """\
echo "scontrol $*" >> "$STUBS"
if [[ $1 == show ]]; then echo 127.0.0.1; fi
""",
    "sweeper": 'exec "$PYTHON" -m sweeper "$@"\n',
    "python": 'exec "$PYTHON" "$@"\n',
    "ray": 'exec "$PYTHON" -m ray.scripts.scripts "$@"\n',
}


class Slurm:
    """Plays Slurm: starts the script as a batch job, again and again if it asks for it."""

    def __init__(self, folder):
        (folder / "bin").mkdir()
        for name, text in STUBS.items():
            (folder / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}")
            (folder / "bin" / name).chmod(0o755)
        (folder / "home").mkdir()
        (folder / "asked").touch()
        self.folder, self.restarts, self.jobs = folder, 0, []

    def start(self, study, *more, **env):
        """Start the job (again)."""
        there = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "HOME": str(self.folder / "home"),
            "STUBS": str(self.folder / "asked"), "PYTHON": sys.executable, "SLURM_JOB_ID": "42",
            "SLURM_RESTART_COUNT": str(self.restarts), "SLURM_CPUS_PER_TASK": "1",
        }  # fmt: skip
        self.restarts += 1
        self.log = self.folder / f"{self.restarts}.log"
        with self.log.open("w") as log:
            job = subprocess.Popen(
                ["bash", str(SCRIPT), str(study.path), "--store", str(study.store), *more],
                stdout=log, stderr=subprocess.STDOUT, env=environment(**there, **env), start_new_session=True,
            )  # fmt: skip
        self.jobs.append(job)
        return job

    @property
    def asked(self):
        """What was asked of Slurm."""
        return (self.folder / "asked").read_text().splitlines()

    def end(self):
        """End what a failed test left."""
        for job in self.jobs:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
                job.wait()


@pytest.fixture
def slurm(tmp_path):
    playing = Slurm(tmp_path)
    yield playing
    playing.end()


ONE = {"cells": {"seed": 0, "rho": 0.9}, "train": {"steps": 1500, "checkpoint_s": 60.0}, "evaluation": {"every": 0}}


def test_the_script_is_sound():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(SCRIPT)], check=True)


@pytest.mark.fault
@pytest.mark.slow
def test_a_warning_before_the_limit_writes_checkpoints_and_requeues_and_the_job_goes_on(tiny, slurm, injected):
    study, whole = tiny(**ONE), tiny(store="whole", **ONE)
    job = slurm.start(study)
    until(lambda: study.notes() or job.poll() is not None)
    job.send_signal(signal.SIGUSR1)  # to the batch shell alone, as --signal=B: has it
    assert job.wait(PATIENCE_S) == 128 + signal.SIGUSR1, slurm.log.read_text()
    said = slurm.log.read_text()
    assert "stopping: writing checkpoints" in said and "back into the queue" in said
    assert slurm.asked == ["scontrol requeue 42"]
    (record,) = study.opened().running()
    assert 0 < record.step < 1500
    assert slurm.start(study).wait(PATIENCE_S) == 0
    assert "1 to continue" in slurm.log.read_text() and slurm.asked == ["scontrol requeue 42"]
    whole.run()
    assert same(study.store, whole.store)
    injected("time limits of a batch job (SIGUSR1, requeued)", 1)


@pytest.mark.fault
@pytest.mark.slow
def test_a_preempted_job_writes_checkpoints_and_leaves_requeueing_to_slurm(tiny, slurm, injected):
    study = tiny(**ONE)
    job = slurm.start(study)
    until(lambda: study.notes() or job.poll() is not None)
    job.terminate()
    assert job.wait(PATIENCE_S) == 128 + signal.SIGTERM and slurm.asked == []
    assert len(study.opened().running()) == 1
    injected("preemptions of a batch job (SIGTERM)", 1)


@pytest.mark.slow
def test_a_study_with_a_fault_is_not_requeued(tiny, slurm):
    assert slurm.start(tiny(), "--set", "train.stepz=1").wait(PATIENCE_S) == 2
    assert slurm.asked == [] and "stepz" in slurm.log.read_text()


@pytest.mark.slow
def test_two_nodes_become_one_ray_cluster_and_nothing_of_it_remains(tiny, slurm):
    """Both on this machine. The token is private, and gone in the end like Ray's folder."""
    study = tiny(train={"steps": 10**6, "checkpoint_s": 3600.0}, evaluation={"every": 0},
                 run={"executor": "ray", "workers": 2, "max_stack": 2})  # fmt: skip
    nodes = {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "here"}
    job = slurm.start(study, **nodes)
    until(lambda: len({note["pid"] for note in study.notes()}) == 2 or job.poll() is not None, 400)
    assert job.poll() is None, slurm.log.read_text()
    (token,) = (slurm.folder / "home").glob(".sweeper-token.*")
    assert token.stat().st_mode & 0o777 == 0o600 and len(token.read_text()) == 64
    scratch = Path("/tmp/sw-42-0")
    assert scratch.stat().st_mode & 0o777 == 0o700
    job.send_signal(signal.SIGUSR1)
    assert job.wait(PATIENCE_S) == 128 + signal.SIGUSR1, slurm.log.read_text()
    assert slurm.asked[-2:] == ["scontrol requeue 42", "srun --nodes=2 --ntasks=2 --overlap rm -rf /tmp/sw-42-0"]
    assert len(study.opened().running()) == 2 and not token.exists() and not scratch.exists()
    mark = f"HOME={slurm.folder / 'home'}\0".encode()
    until(
        lambda: not any(mark in environ(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()), 120, 0.5
    )


def environ(process):
    """A process's environment, as far as it may be read."""
    try:
        return (process / "environ").read_bytes() + b"\0"
    except OSError:
        return b""
