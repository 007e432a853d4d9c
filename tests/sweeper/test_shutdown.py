"""Ray's processes, which do not hear SIGTERM, are killed as soon as they are asked to end."""

import signal
import subprocess
import sys

import psutil
import pytest

from sweeper.driver.shutdown import killed_when_asked_to_end

DEAF = """
import signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
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
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has pending is read in /proc")
def test_one_that_is_asked_ends_at_once_and_the_others_stay(deaf):
    asked, other, stranger = deaf(), deaf(), deaf()
    with killed_when_asked_to_end([psutil.Process(each.pid) for each in (asked, other)]):
        for each in (asked, stranger):
            each.terminate()
        assert asked.wait(timeout=60) == -signal.SIGKILL
    assert other.poll() is None and stranger.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has pending is read in /proc")
def test_a_signal_from_before_is_somebody_elses(deaf):
    """`timeout` and batch systems send theirs to the whole group, while Ray is still needed."""
    early, late = deaf(), deaf()
    early.terminate()
    with killed_when_asked_to_end([psutil.Process(each.pid) for each in (early, late)]):
        late.terminate()
        assert late.wait(timeout=60) == -signal.SIGKILL
        assert early.poll() is None
