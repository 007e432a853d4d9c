"""Ray's processes, which do not receive SIGTERM, are killed as soon as they are asked to end, and leave nothing."""

import json
import signal
import subprocess
import sys

import psutil
import pytest
from conftest import environment

from sweeper.driver.shutdown import kill, killed_when_asked_to_end

DEAF = """
import signal, subprocess, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
print("deaf", flush=True)
time.sleep(600)
"""


@pytest.fixture
def deaf():
    """Starts processes that have SIGTERM blocked."""
    made = []

    def start():
        made.append(subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, text=True))
        assert made[-1].stdout.readline() == "deaf\n"
        return made[-1]

    yield start
    for process in made:
        for below in psutil.Process(process.pid).children() if process.poll() is None else []:
            below.kill()
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has pending is read in /proc")
def test_one_that_is_asked_ends_at_once_and_the_others_stay(deaf):
    asked, other, stranger = deaf(), deaf(), deaf()
    (below,) = psutil.Process(asked.pid).children()
    with killed_when_asked_to_end([psutil.Process(each.pid) for each in (asked, other)]):
        for each in (asked, stranger):
            each.terminate()
        assert asked.wait(timeout=60) == -signal.SIGKILL
    assert not below.is_running() and other.poll() is None and stranger.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has pending is read in /proc")
def test_a_signal_from_before_is_somebody_elses(deaf):
    """`timeout` and batch systems send theirs to the whole group, while Ray is still needed."""
    early, late = deaf(), deaf()
    early.terminate()
    with killed_when_asked_to_end([psutil.Process(each.pid) for each in (early, late)]):
        late.terminate()
        assert late.wait(timeout=60) == -signal.SIGKILL
        assert early.poll() is None


def test_processes_are_killed_with_all_below_them(deaf):
    process = psutil.Process(deaf().pid)
    (below,) = process.children()
    kill([process])
    assert not process.is_running() and not below.is_running()


SESSION = """
import json, sys, time
import psutil
from sweeper.driver.session import ray_session

def below():
    found = psutil.Process().children(recursive=True)
    return [each for each in found if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]

with ray_session(None, 2, 0) as (scratch, _):
    import ray

    @ray.remote(num_cpus=1)
    class Actor:
        pass

    actors = [Actor.remote() for _ in range(2)]  # whose processes take a second to come up
    until = time.monotonic() + 60
    while time.monotonic() < until and "default_worker.py" not in str([each.cmdline() for each in below()]):
        time.sleep(0.05)
    started = below()
    del actors
left = [each.name() for each in started if each.is_running()]
json.dump({"started": len(started), "left": left, "folder": scratch.exists()}, sys.stdout)
"""


def test_a_session_that_ends_while_workers_start_leaves_neither_processes_nor_a_folder():
    done = subprocess.run([sys.executable, "-c", SESSION], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["started"] > 5 and found["left"] == [] and not found["folder"]
