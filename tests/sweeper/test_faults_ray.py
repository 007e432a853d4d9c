"""The fault suite through Ray: its driver killed again and again, a node of a cluster lost with all its processes."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import environment, until
from invariants import check_invariants
from test_cloud import at, s3, service  # noqa: F401  (fixtures)
from test_ray import LINGER_S, RAY, SECONDS_S, SLOW_START_S, python_in, through_ray  # noqa: F401  (a fixture)

from sweeper.cloud import to_read, working_copy
from sweeper.driver.scratch import sweep

pytestmark = [pytest.mark.fault, pytest.mark.slow]


def test_the_driver_is_killed_again_and_again(tiny, through_ray, times, injected):  # noqa: F811
    """Each time while both its workers train. Then none of its processes remains, and the same command finishes."""
    wanted = times(2, 10, 30)
    grid, train = {"rho": [0.8, 0.95]}, {"steps": 1500 * wanted, "checkpoint_s": 0.3}  # a stack for each worker
    undisturbed = tiny("study", store="undisturbed", cells=grid, train=train, run={"max_stack": 2})
    undisturbed.run()
    study = tiny("study", cells=grid, train=train, run=RAY)
    run, seen = through_ray(study), set()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(wanted):
        until(run.notes, SLOW_START_S)
        time.sleep(rng.uniform(0, 2))
        run.process.kill()
        assert run.end()[0] == -signal.SIGKILL
        now = set(study.opened().committed())
        assert seen <= now
        seen = now
        run.start()
    # Workers are at nice 15: on a busy machine the rest takes minutes.
    code, _, err = run.end(times(3, 3, 9) * SLOW_START_S)
    assert code == 0, err
    check_invariants(study, undisturbed.store, seen)
    until(lambda: not run.processes(), LINGER_S, 0.5)
    sweep(run.temporary)  # as the next run does: Ray's agents may have written after the last one looked
    assert list(run.temporary.iterdir()) == []
    injected("SIGKILL of the driver of a run through Ray, its workers training", wanted)


@pytest.mark.parametrize("service", ["s3"], indirect=True)
def test_a_run_through_ray_into_a_bucket_is_killed_and_goes_on(tiny, through_ray, service, injected):  # noqa: F811
    """Ray's workers write into the working copy, the driver takes it to the bucket, where all of it is in the end."""
    train, url = {"steps": 3000, "checkpoint_s": 0.3}, service.url("through-ray")
    undisturbed = tiny("study", store="undisturbed", train=train, run={"max_stack": 2})
    undisturbed.run()
    study = at(tiny("study", train=train, run=RAY), working_copy(url))
    run = through_ray(study, "--store", url)
    until(run.notes, SLOW_START_S)
    run.process.kill()
    assert run.end()[0] == -signal.SIGKILL
    seen = set(study.opened().committed())
    run.start()
    code, _, err = run.end(3 * SLOW_START_S)
    assert code == 0, err
    check_invariants(study, undisturbed.store, seen)
    shutil.rmtree(study.store)
    check_invariants(at(study, to_read(url)), undisturbed.store, seen)
    until(lambda: not run.processes(), LINGER_S, 0.5)
    injected("SIGKILL of the driver of a run through Ray into a bucket", 1)


class Cluster:
    """Ray nodes of one core each on this machine, with a token; `lose` kills every process of one."""

    def __init__(self, nodes, python=sys.executable):
        self.folder = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))
        token = self.folder / "token"
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
        self.environment = environment(
            RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token), RAY_USAGE_STATS_ENABLED="0", TMPDIR=str(self.folder)
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        _, port = self.address.split(":")
        self.nodes = []
        for number in range(nodes):
            where = [f"--address={self.address}"]
            if number == 0:
                where = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self.folder / 'ray'}"]
            command = [
                str(python),
                "-m",
                "ray.scripts.scripts",
                "start",
                *where,
                "--node-ip-address=127.0.0.1",
                "--num-cpus=1",
                "--block",
            ]
            self.nodes.append(
                subprocess.Popen(
                    [*command, "--object-store-memory=100000000", "--disable-usage-stats"],
                    start_new_session=True,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=self.environment | self.mark(number),
                )
            )
            self.up(number)

    @staticmethod
    def mark(number):
        return {"NODE_OF_THE_TEST": f"{os.getpid()}-{number}"}

    def up(self, number):
        """Wait until a node's raylet runs."""

        def raylet():
            assert self.nodes[number].poll() is None, "a Ray node did not start"
            return [pid for pid in self.processes(number) if b"raylet/raylet" in command_line(pid)]

        until(raylet, SLOW_START_S, 0.2)
        time.sleep(3)  # the raylet registers

    def processes(self, number):
        """Pids of all live processes of a node."""
        ((name, value),) = self.mark(number).items()
        mark, found = f"{name}={value}\0".encode(), []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes() + b"\0":
                    found.append(int(entry.name))
        return found

    def lose(self, number):
        """A node and all that runs on it is gone at once."""
        while pids := self.processes(number):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.nodes[number].wait()

    def close(self):
        """Leave nothing behind."""
        for number in range(len(self.nodes)):
            self.lose(number)
        shutil.rmtree(self.folder, ignore_errors=True)


def command_line(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@pytest.fixture
def cluster():
    made = Cluster(2)
    yield made
    made.close()


def test_a_node_is_lost_and_its_cells_run_elsewhere(tiny, cluster, injected, tmp_path):
    """One worker on each node: the other node's takes the lost stack over, and the third, when its own is done."""
    grid, train = {"rho": [0.8, 0.95, 1], "seed": 0}, {"steps": 3000, "checkpoint_s": 0.3}
    undisturbed = tiny("study", store="undisturbed", cells=grid, train=train)
    undisturbed.run()
    study = tiny("study", cells=grid, train=train, run=RAY | {"max_stack": 1})
    with open(tmp_path / "err", "w+") as err:
        run = subprocess.Popen(
            [sys.executable, "-m", "sweeper", *study.argv("run", "--address", cluster.address)],
            env=cluster.environment, stdout=subprocess.DEVNULL, stderr=err, start_new_session=True,
        )  # fmt: skip

        def elsewhere(attempt, lost):
            return [note for note in study.notes() if note["attempt"] == attempt and note["pid"] not in lost]

        def both():
            assert run.poll() is None, (tmp_path / "err").read_text()
            pids = {note["pid"] for note in study.notes() if note["step"] > 0}
            return len(pids) == 2 and pids

        try:
            pids = until(both, SLOW_START_S)
            lost = pids & set(cluster.processes(1))
            assert len(lost) == 1  # one worker on each node
            (attempt,) = (note["attempt"] for note in study.notes() if note["pid"] in lost)
            cluster.lose(1)
            begun = time.monotonic()
            until(lambda: run.poll() is not None or elsewhere(attempt, lost), SLOW_START_S)
            print(f"taken over {time.monotonic() - begun:.0f} s after the loss")
            assert run.wait(SLOW_START_S) == 0, (tmp_path / "err").read_text()
            print(f"ended {time.monotonic() - begun:.0f} s after the loss")
        finally:
            if run.poll() is None:
                run.kill()
                run.wait()
    check_invariants(study, undisturbed.store)
    injected("a node of a Ray cluster lost", 1)


@pytest.fixture
def spaced(tmp_path):
    """A Python in a folder with a space, one in a folder without, and a cluster of one node of one core that the first
    has started."""
    python = python_in(tmp_path / "environment with a space")
    plain = sys.executable if " " not in sys.executable else python_in(tmp_path / "plain")
    made = Cluster(1, python)
    yield python, plain, made
    made.close()


def joined(study, cluster, *more, python=sys.executable, err=subprocess.PIPE):
    """`sweeper run` on a cluster."""
    argv = [str(python), "-m", "sweeper", *study.argv("run", "--executor", "ray", "--address", cluster.address, *more)]
    return subprocess.Popen(argv, env=cluster.environment, stdout=subprocess.DEVNULL, stderr=err, text=True)


def test_nodes_whose_python_has_a_space_in_its_path_work_or_the_run_says_why(tiny, spaced):
    """They work for a driver that runs by the same Python. For another, Ray starts theirs without quotes."""
    python, plain, cluster = spaced
    study = tiny(cells={"rho": 0.9, "seed": 0}, train={"steps": 20})
    other = joined(study, cluster, "--set", "run.start_s=45", python=plain)
    err = other.communicate(timeout=SLOW_START_S)[1]
    assert other.returncode == 69 and "1 of 1 nodes of the Ray cluster cannot work: node " in err, err
    assert "no worker came up within 45 s (run.start_s); Ray's logs say:" in err
    assert f"raylet.err: bash: line 1: {str(python).partition(' ')[0]}: No such file or directory" in err
    same_python = joined(study, cluster, python=python)
    err = same_python.communicate(timeout=SLOW_START_S)[1]
    assert same_python.returncode == 0, err


HOLD = """
import sys, time, ray
ray.init(sys.argv[1], log_to_driver=False)
@ray.remote(num_cpus=1)
def hold():
    time.sleep(1000)
ray.wait([hold.remote()])
"""


def test_a_run_waits_for_cores_that_others_hold_until_it_is_stopped(tiny, tmp_path):
    """However long: workers could start, so there is nothing wrong. Ctrl-C ends it within seconds."""
    cluster = Cluster(1)
    try:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, cluster.address], env=cluster.environment | cluster.mark(0)
        )
        until(lambda: any(b"ray::hold" in command_line(pid) for pid in cluster.processes(0)), SLOW_START_S, 0.2)
        study = tiny(cells={"rho": 0.9, "seed": 0}, train={"steps": 20})
        with open(tmp_path / "err", "w+") as err:
            run = joined(study, cluster, "--set", "run.start_s=20", err=err)
            said = Path(err.name).read_text
            until(lambda: "waiting: others use the cores" in said() or run.poll() is not None, SLOW_START_S, 0.2)
            assert run.poll() is None, said()
            run.send_signal(signal.SIGINT)
            begun = time.monotonic()
            assert run.wait(SLOW_START_S) == 130 and time.monotonic() - begun < SECONDS_S, said()
            print(f"ended {time.monotonic() - begun:.1f} s after the signal")
        holder.kill()
        holder.wait()
    finally:
        cluster.close()
