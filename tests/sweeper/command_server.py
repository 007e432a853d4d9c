"""Runs `sweeper` in processes of its own, forked from one that has imported everything: no start costs an import.

Each line of the input is JSON: `{"start": {"argv", "cwd", "out", "err", "env", "tty", "unprivileged", "faults"}}` forks
a process in its own session and prints its pid; `{"poll": pid}` prints null while it runs, then its exit code (minus
the signal) and the seconds of CPU that it used. `faults` are planted in it first: functions of `faulty`, by name, and
what each is given. With `PLANTED_KL` in `env` its workers report planted values; the signal that `IGNORED` names there
is ignored from the start.
"""

import atexit
import gc
import json
import os
import signal
import sys
import threading
from functools import partial
from importlib import import_module

import faulty

from sweeper.analysis import figures
from sweeper.cli import main
from sweeper.driver import worker
from tests.sweeper.blank import blank
from tests.sweeper.planted_kl import plant
from tests.sweeper.unflushed import do_not_flush

MODULES = (  # what the commands import when they need it; none of it computes anything here
    "models.data.digits", "models.evaluation.evaluate", "rich.table", "sweeper.analysis.report", "sweeper.compare",
    "sweeper.driver.inline", "sweeper.driver.retries", "sweeper.driver.worker", "sweeper.planning.estimate",
    "sweeper.refine.ask",
    "sweeper.analysis.files", "sweeper.cli.progress", "sweeper.cli.words.plan", "sweeper.cli.words.report",
    "sweeper.cli.words.status", "sweeper.report", "sweeper.run", "sweeper.status",
)  # fmt: skip


def become(argv, cwd, out, err, env, tty, unprivileged, faults):
    """Be the command, as a shell would start it."""
    os.setsid()
    os.chdir(cwd)
    os.environ.update(env)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        handler = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, handler)  # whatever a shell that runs the tests in the background has set
    if "IGNORED" in env:  # as `nohup` does
        signal.signal(signal.Signals[env["IGNORED"]], signal.SIG_IGN)
    if "PLANTED_KL" in env:
        plant(partial(setattr, worker))
    paths = [tty] * 3 if tty else [os.devnull, out, err]
    for number, path in enumerate(paths):
        flags = os.O_RDWR if tty or number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(path, flags, 0o644), number)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
    if unprivileged:
        faulty.give_up_capabilities()
    for name, argument in faults.items():
        getattr(faulty, name)(argument)
    sys.argv = ["sweeper", *argv]
    main()


def end(code):
    """End as the interpreter does, but let the system take its objects back: 0.05 s of CPU instead of 0.5.

    It would free everything that was imported, in pages of its own. `python -m sweeper`, where that is looked at
    (`test_cli`, `test_daily_use`), ends by itself.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    os._exit(code or 0)


def serve():
    """Answer until the input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            answer = os.fork()
            if answer == 0:
                try:
                    become(**asked["start"])
                except SystemExit as error:
                    end(error.code)
                sys.exit(0)
        else:
            pid, status, used = os.wait4(asked["poll"], os.WNOHANG)
            answer = [os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime] if pid else None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    for name in MODULES:
        import_module(name)
    figures.save = blank
    do_not_flush()
    gc.collect()
    gc.freeze()  # a collection in a command would look at all of this once more, in pages of its own
    serve()
