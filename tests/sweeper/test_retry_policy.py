"""Whether a job is tried again, when and in how large stacks: events and the decisions that they should bring."""

import pytest

from sweeper.driver.retry_policy import (
    Decision,
    Hung,
    Killed,
    KilledForMemory,
    NotStarted,
    OutOfMemory,
    Raised,
    RetryPolicy,
    halved,
    halvings,
)

# Three attempts, two restarts and two for memory, waits of 5, 10 and at most 15 s, calms from 60 to 200 s.
POLICY = RetryPolicy(3, 2, 2, 5.0, 15.0, 60.0, 200.0)
NO_ROOM = "though nothing else of this run was going on: free some there, or make stacks smaller (run.max_stack)"
HANG = "no step finished within 60 s (run.hang_s)"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Raised(1), Decision(True)),
        (Raised(2), Decision(True, alone=True)),
        (Raised(3), Decision(False, alone=True)),
        (Hung(1, 60.0), Decision(True, reason=HANG)),
        (Hung(2, 60.0), Decision(True, alone=True, reason=HANG)),
        (Hung(3, 60.0), Decision(False, alone=True, reason=HANG)),
        (Hung(4, 60.0), Decision(False, alone=True, reason=HANG)),  # the next cell that hangs alone
        (OutOfMemory(5), Decision(True, max_stack=3)),
        (OutOfMemory(2), Decision(True, max_stack=1)),
        (OutOfMemory(1), Decision(False)),
        (Killed(2, cells=1, stack=1), Decision(True)),
        (Killed(3, cells=1, stack=1), Decision(False)),
        (Killed(1, cells=4, stack=0), Decision(True)),  # a worker that was lost before it had begun
        (Killed(4, cells=4, stack=4), Decision(True, max_stack=2)),  # two halvings of four cells are on top
        (Killed(5, cells=4, stack=4), Decision(False, max_stack=2)),
        (KilledForMemory(0, 4, 3, beside=2, calm_s=60.0), Decision(True, max_running=2, calm_s=120.0, max_stack=2)),
        (KilledForMemory(9, 1, 1, beside=1, calm_s=120.0), Decision(True, max_running=1, calm_s=200.0)),
        (KilledForMemory(9, 1, 1, 1, 60.0, hopeless=True), Decision(True, max_running=1, calm_s=120.0)),
        (KilledForMemory(1, 1, 1, beside=0, calm_s=60.0), Decision(True, wait_s=5.0)),
        (KilledForMemory(2, 1, 1, beside=0, calm_s=60.0), Decision(True, wait_s=10.0)),
        (KilledForMemory(3, 2, 2, beside=0, calm_s=60.0), Decision(True, wait_s=15.0, max_stack=1)),
        (NotStarted(59.0, 60.0, taken=False), Decision(True)),
        (NotStarted(61.0, 60.0, taken=True), Decision(True)),
        (NotStarted(61.0, 60.0, taken=False), Decision(False, reason="no worker came up within 60 s (run.start_s)")),
    ],
    ids=lambda value: repr(value).partition(", reason")[0] if not isinstance(value, Decision) else "",
)
def test_what_follows_from_an_event(event, expected):
    assert POLICY.after(event) == expected


@pytest.mark.parametrize(
    "event",
    [
        KilledForMemory(3, cells=1, stack=1, beside=0, calm_s=60.0),
        KilledForMemory(3, cells=8, stack=8, beside=0, calm_s=60.0, hopeless=True),  # another job was given up already
    ],
)
def test_a_job_given_up_for_memory_says_what_to_do(event):
    decision = POLICY.after(event)
    assert not decision.retry and decision.reason.startswith(f"3 times {NO_ROOM}")


def test_a_stack_is_halved_to_one_cell_in_as_many_steps_as_are_counted():
    for cells in range(1, 300):
        stack, steps = cells, 0
        while stack > 1:
            stack, steps = halved(stack), steps + 1
        assert steps == halvings(cells)
    assert halved(1) == halved(0) == 0


def test_the_limits_of_a_run():
    """What docs and messages promise: three attempts, and for memory waits of 5, 10, 20, 40, 60 and 60 s."""
    policy = RetryPolicy()
    assert (policy.max_attempts, policy.max_restarts) == (3, 2)
    waits = [policy.after(KilledForMemory(times, 1, 1, 0, 60.0)).wait_s for times in range(1, 8)]
    assert waits == [5, 10, 20, 40, 60, 60, 0]
