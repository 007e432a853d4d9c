"""Fixtures that several test modules share, and the fault suite's options and its account of what was injected."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

INJECTED = "injected"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long`."""
    parser.addoption(
        "--long", action="store_true", help="the long form of the fault suite: 300 kills, a soak of 2 hours"
    )


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data that SWEEPER_DATA names; a test that asks for it is skipped where it is unset."""
    given = os.environ.get("SWEEPER_DATA")
    if not given:
        pytest.skip("real data: set SWEEPER_DATA to the folder that has mnist/, binarized_mnist/ and omniglot/")
    return Path(given)


@pytest.fixture
def times(request) -> Callable[[int, int, int], int]:
    """How often to inject a fault: among all tests, in the fault suite (`-m fault`), in its long form (`--long`)."""
    config = request.config
    form = 2 if config.option.long else 1 if config.option.markexpr == "fault" else 0
    return lambda *counts: counts[form]


@pytest.fixture
def injected(request) -> Callable[[str, int], None]:
    """Counts faults by name, for the account at the end. A test that finds something lost fails before it counts."""

    def count(fault: str, number: int) -> None:
        request.node.user_properties.append((INJECTED, (fault, number)))  # with the test's report, from any process

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was injected, and that nothing of it was lost or wrong."""
    counter: Counter[str] = Counter()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if getattr(report, "when", None) == "call":
            for _, (fault, number) in (each for each in report.user_properties if each[0] == INJECTED):
                counter[fault] += number
    if counter:
        failed = len(terminalreporter.stats.get("failed", []))
        terminalreporter.section("faults injected")
        for fault, number in sorted(counter.items()):
            terminalreporter.write_line(f"{number:6,}  {fault}")
        verdict = f"{failed} tests failed: see above" if failed else "lost or wrong: 0"
        terminalreporter.write_line(f"{sum(counter.values()):6,}  in all; {verdict}")
