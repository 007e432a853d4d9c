"""From a study and what its store has to jobs for workers. No torch, nothing written.

What is asked for less what is committed is what a run does; resuming is nothing else. `evidence` reads what the store
has, `decide` says what is missing of each cell, `jobs` makes stacks of what is missing, and `plan` puts them together.
"""

from sweeper.planning.decide import Item
from sweeper.planning.jobs import Job
from sweeper.planning.plan import Plan, make_plan
from sweeper.planning.refinement import asked_cells

__all__ = ["Item", "Job", "Plan", "asked_cells", "make_plan"]
