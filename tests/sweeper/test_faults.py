"""The fault suite: real processes killed, stopped and starved; what is left is what nothing ever disturbed.

`pytest -m fault` injects each fault often enough to see a flaw that shows once in ten times, `pytest -m fault --long`
once in a hundred; among all other tests each is injected a few times. Seeds are printed, counts at the end.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from conftest import PATIENCE_S, until
from invariants import check_invariants

pytestmark = pytest.mark.fault


def training(study, run):
    """Wait until a run trains a stack itself, or ends; what a run before it left said means nothing."""
    until(lambda: run.poll() is not None or any(note["pid"] == run.pid for note in study.notes()))


class Driver:
    """Starts `sweeper run` on a study, with faults planted in it."""

    def __init__(self, commands, patience):
        self.commands, self.patience = commands, patience

    def start(self, study, *more, **faults):
        run = self.commands.start(study.argv("run", *more), faults={"unreported": None} | faults)
        run.patience = self.patience
        return run

    def run(self, study, *more, **faults):
        run = self.start(study, *more, **faults)
        run.wait()
        return run


@pytest.fixture
def driver(sweeper_command, times):
    return Driver(sweeper_command, times(PATIENCE_S, PATIENCE_S, 3600.0))


@pytest.fixture
def pair(tiny, driver):
    """A study run undisturbed, and the same study to be disturbed."""

    def make(**train):
        undisturbed, disturbed = tiny("study", train=train), tiny("study", store="disturbed", train=train)
        assert driver.run(undisturbed).code == 0
        return undisturbed, disturbed

    return make


def committed(study):
    """Ids of committed cells; none while there is no store."""
    folder = study.store / "cells"
    return set(study.opened().committed()) if folder.exists() else set()


# --- kills


def test_random_sigkills_change_no_bit_and_lose_no_committed_cell(pair, driver, times, injected):
    wanted = times(6, 30, 300)
    undisturbed, killed = pair(steps=30 * wanted, checkpoint_s=0.1)
    share = undisturbed.opened().cells()["wall_s"].sum() / wanted  # of the training, s
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng, kills, phases, seen = random.Random(seed), 0, [], set()
    while True:
        run = driver.start(killed)
        if len(phases) < wanted:
            if kills % 4 == 0:  # at any moment, which do not count as wanted: while reading, planning, repairing
                time.sleep(rng.uniform(0, 0.4 + share))
            else:
                training(killed, run)
                time.sleep(rng.uniform(0, 0.6 * share))
            if run.poll() is None:
                run.kill()
        if run.wait() == 0:
            break
        assert run.code == -signal.SIGKILL
        kills += 1
        phases += [note["phase"] for note in killed.notes() if note["pid"] == run.pid]
        now = committed(killed)
        assert seen <= now
        seen = now
    assert len(phases) >= 0.8 * wanted
    check_invariants(killed, undisturbed.store, seen)
    injected("SIGKILL of the driver while a stack trains or is evaluated", len(phases))
    injected("SIGKILL of the driver at any other moment", kills - len(phases))


def test_a_sigkill_at_any_call_that_changes_the_store(pair, driver, times, injected, tmp_path):
    """Every link, rename, removal, folder and flush of a whole run, and the middle of every write."""
    undisturbed, killed = pair(steps=times(20, 40, 40), checkpoint_s=0.01)
    counted = driver.run(killed, "--store", str(tmp_path / "counted"), count_calls=str(tmp_path / "calls"))
    calls = int((tmp_path / "calls").read_text())
    assert counted.code == 0 and calls > 100
    chosen = min(times(6, 30, 500), calls)
    first = random.randrange(calls)
    print(f"first call {first + 1} of {calls}")
    kills = 0
    for i in range(chosen):
        number = (first + i * calls // chosen) % calls + 1
        shutil.rmtree(killed.store, ignore_errors=True)
        run = driver.run(killed, kill_at_call=number)
        # The number of checkpoints follows the clock, so a late call may not come this time.
        assert run.code in (0, -signal.SIGKILL), run.err
        kills += run.code != 0
        seen = committed(killed)
        again = driver.run(killed)
        check_invariants(killed, undisturbed.store, seen, again.code)
    assert kills >= 0.7 * chosen
    injected("SIGKILL at a call of the system that changes the store", kills)


# --- two drivers


def test_of_two_runs_at_once_one_leaves_with_75_naming_the_other(pair, driver, times, injected):
    undisturbed, study = pair(steps=times(100, 200, 200), checkpoint_s=0.1)
    rounds = times(1, 20, 100)
    for _ in range(rounds):
        shutil.rmtree(study.store, ignore_errors=True)
        runs = [driver.start(study) for _ in range(2)]
        until(lambda runs=runs: any(run.poll() is not None for run in runs))
        second, first = sorted(runs, key=lambda run: run.poll() is None)
        assert second.code == 75 and second.cpu_s < 3  # its own time, whatever else the machine does
        assert f"is in use by process {first.pid} on " in second.err or "is in use by another process" in second.err
        assert len(second.err.splitlines()) == 1 and first.wait() == 0, first.err
        check_invariants(study, undisturbed.store)
    injected("two drivers at once", rounds)


@pytest.mark.slow
def test_a_stopped_driver_goes_on_and_holds_its_store_meanwhile(pair, driver, times, injected):
    undisturbed, study = pair(steps=200, checkpoint_s=0.1)
    first = driver.start(study)
    training(study, first)
    first.kill(signal.SIGSTOP)
    time.sleep(times(1, 60, 60))
    second = driver.run(study)
    assert second.code == 75 and f"process {first.pid}" in second.err
    first.kill(signal.SIGCONT)
    assert first.wait() == 0, first.err
    check_invariants(study, undisturbed.store)
    injected("a driver stopped and continued", 1)


@pytest.mark.slow
def test_a_stopped_driver_may_be_killed_and_needs_no_unlocking(pair, driver, injected):
    """Nor does one whose number another process has by now, or whose host is gone: the system freed its lock."""
    undisturbed, study = pair(steps=100, checkpoint_s=0.1)
    first = driver.start(study)
    training(study, first)
    first.kill(signal.SIGSTOP)
    first.kill()
    first.wait()
    note = study.opened().paths.lock_info
    for pid, host in ((os.getpid(), None), (1, "a-host-that-is-gone")):
        text = note.read_text().replace(str(first.pid), str(pid))
        note.write_text(text if host is None else text.replace(os.uname().nodename, host))
        run = driver.start(study)
        training(study, run)
        if run.poll() is None:
            run.kill()
        assert run.wait() in (0, -signal.SIGKILL), run.err
        if not note.exists():
            break
    again = driver.run(study)
    check_invariants(study, undisturbed.store, (), again.code)
    injected("a lock left by a dead process, its number in use again, or of another host", 3)


@pytest.mark.slow
def test_without_any_lock_no_cell_is_committed_twice(pair, driver, times, injected):
    """The lock saves work; that the first commit wins is what keeps the store right."""
    undisturbed, study = pair(steps=60, checkpoint_s=0.05)
    rounds = times(2, 6, 50)
    for _ in range(rounds):
        shutil.rmtree(study.store, ignore_errors=True)
        runs = [driver.start(study, unlocked=None) for _ in range(3)]
        for run in runs:
            run.wait()
        again = driver.run(study)
        check_invariants(study, undisturbed.store, (), again.code)
    injected("three drivers at once with the lock forced off", rounds)


# --- disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own; mounting one needs root."""
    folder = tmp_path / "small disk"
    folder.mkdir()

    def mount(*options):
        done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a file system of its own cannot be mounted here: {done.stderr.strip()}")

    mount("-t", "tmpfs", "-o", "size=1m", "none")
    yield folder, mount
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_74_and_with_space_the_same_command_finishes(
    pair, driver, small_disk, times, injected
):
    """Whatever it is that does not fit any more: a checkpoint, a kept state, a history, a row or a line of the log."""
    undisturbed, study = pair(steps=60, checkpoint_s=0.01)
    folder, mount = small_disk
    object.__setattr__(study, "store", folder / "store")
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng, full, rounds = random.Random(seed), 0, times(3, 10, 60)
    needed = sum(path.stat().st_blocks * 512 for path in undisturbed.store.rglob("*")) // 1024
    for _ in range(rounds):
        mount("-o", f"remount,size={rng.randrange(8, needed)}k")
        run = driver.run(study)
        assert run.code in (0, 74), run.err
        if run.code == 74:
            full += 1
            assert "bytes free" in run.err and "Traceback" not in run.err
        seen = committed(study)
        mount("-o", "remount,size=100m")
        again = driver.run(study)
        check_invariants(study, undisturbed.store, seen, again.code)
        shutil.rmtree(study.store)
    assert full >= 0.5 * rounds
    injected("a full disk", full)


def test_a_store_on_a_read_only_disk_is_refused_at_once_and_can_be_read(pair, driver, small_disk, injected):
    """A read-only mount stops root too. The system allows none under a run that has a file open."""
    undisturbed, study = pair(steps=60, checkpoint_s=0.05)
    folder, mount = small_disk
    object.__setattr__(study, "store", folder / "store")
    mount("-o", "remount,size=100m")
    run = driver.start(study)
    until(lambda: run.poll() is not None or committed(study))
    run.kill()
    run.wait()
    seen = committed(study)
    mount("-o", "remount,ro")
    refused = driver.run(study)
    assert refused.code == 74 and "Read-only file system" in refused.err, refused.err
    assert refused.cpu_s < 3 and len(refused.err.splitlines()) == 1, refused.err
    assert len(study.opened().cells()) == len(seen)
    mount("-o", "remount,rw")
    again = driver.run(study)
    check_invariants(study, undisturbed.store, seen, again.code)
    injected("a read-only disk", 1)


@pytest.mark.slow
def test_a_store_that_vanishes_ends_the_run_with_74(pair, driver, times, injected):
    undisturbed, study = pair(steps=300, checkpoint_s=0.05)
    rounds = times(1, 5, 20)
    for _ in range(rounds):
        run = driver.start(study)
        training(study, run)
        study.store.rename(study.store.with_name("elsewhere"))
        assert run.wait() == 74 and "Traceback" not in run.err, run.err
        assert not study.store.exists()
        shutil.rmtree(study.store.with_name("elsewhere"))
    again = driver.run(study)
    check_invariants(study, undisturbed.store, (), again.code)
    injected("a store that vanishes", rounds)


# --- soak


class Gauge:
    """What a process holds, looked at five times a second while it trains: resident pages and open files."""

    def __init__(self):
        self.memory, self.files = [], []

    def watch(self, run, study, seconds=float("inf")):
        """Until the run ends, or for so long."""
        end = time.monotonic() + seconds
        while run.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
            if run.poll() is None and study.notes():
                with open(f"/proc/{run.pid}/statm") as file:
                    self.memory.append(int(file.read().split()[1]))
                self.files.append(len(os.listdir(f"/proc/{run.pid}/fd")))

    def flat(self):
        """Whether the last third held no more than the first, but for what the allocator keeps."""
        third = len(self.memory) // 3
        print(f"pages {max(self.memory[:third])} then {max(self.memory[-third:])}, looked {3 * third} times")
        less = max(self.memory[-third:]) < 1.2 * max(self.memory[:third])
        return less and max(self.files[-third:]) <= max(self.files[:third]) + 5


@pytest.mark.slow
def test_soak(tiny, driver, times, injected):
    """Hundreds of small cells and a kill every 20 s, study after study: two hours in the long form.

    Memory and open files stay flat over all of them, and over one process that nothing disturbs.
    """
    seconds, every = times(20, 40, 7200), times(5, 10, 20)
    cells = {"rho": [round(0.5 + 0.0005 * i, 4) for i in range(times(100, 100, 500))], "seed": [0]}
    train = {"steps": times(40, 120, 600), "checkpoint_s": 2.0}
    undisturbed, killed = tiny("soak", "undisturbed", cells=cells, train=train), tiny("soak", cells=cells, train=train)
    gauge = Gauge()
    run = driver.start(undisturbed)
    gauge.watch(run, undisturbed)
    assert run.wait() == 0 and gauge.flat(), run.err
    begun, kills, studies, gauge = time.monotonic(), 0, 0, Gauge()
    while (left := begun + seconds - time.monotonic()) > 0:
        shutil.rmtree(killed.store, ignore_errors=True)
        seen = set()
        while True:
            run = driver.start(killed)
            gauge.watch(run, killed, every if left > 0 else float("inf"))
            if run.poll() is None:
                run.kill()
            if run.wait() == 0:
                break
            assert run.code == -signal.SIGKILL, run.err
            kills, left = kills + 1, begun + seconds - time.monotonic()
            now = committed(killed)
            assert seen <= now
            seen = now
        check_invariants(killed, undisturbed.store, seen)
        studies += 1
        print(f"{time.monotonic() - begun:.0f} s: {studies} studies, {kills} kills", flush=True)
    assert kills and gauge.flat()
    injected("SIGKILL of the driver in the soak", kills)
