"""What Ray calls on a worker. It travels there as code and not as a name, which the worker would look up by itself.

So a worker imports sweeper's packages from where the driver did, if that folder is there, whatever else lies where it
looks; on a node without that folder, from what is installed there.
"""

from __future__ import annotations

import sys
from typing import Any

from sweeper.source import prefer


def send_as_code() -> None:
    """Have Ray send what stands here, and what it calls, as code."""
    from ray import cloudpickle

    for name in (prefer.__module__, __name__):
        cloudpickle.register_pickle_by_value(sys.modules[name])  # type: ignore[no-untyped-call]


def carry_out_job(config: dict[str, Any], source_root: str, **given: Any) -> dict[str, Any]:
    """One job, in the words of Tune: see `sweeper.driver.tune.trial`."""
    prefer(source_root)
    from sweeper.driver.tune import trial

    return trial(config, **given)


def look(source_root: str) -> tuple[str, str]:
    """Digest of the source that a worker imports, and the folder in which that lies."""
    prefer(source_root)
    from sweeper.provenance import source_digest
    from sweeper.source import ROOT as own_root

    return source_digest(), own_root
