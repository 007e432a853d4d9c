"""Workers that report a planted top KL instead of the one that their cells trained for."""

import numpy as np

from sweeper.driver import worker
from tests.sweeper.synthetic import broken


def planted_kl(cell):
    """Top KL of a planted cell: 1 % noise, 3 % scatter of the seeds' places."""
    place, noise = (np.random.default_rng([cell.seed, key]).normal() for key in (0, 1 + round(1e9 * cell.rho)))
    return float(broken(np.array([round(1 - cell.rho, 12)]), 0.05 * np.exp(0.03 * place))[0] + 0.12 * noise)


def plant(patch):
    """Make workers of this process report planted values; returns the stacks that they evaluate, in order."""
    stacks, real = [], worker.evaluate

    def evaluate(stack, *args, **options):
        rows = real(stack, *args, **options)
        stacks.append([(cell.rho, cell.seed) for cell in stack.cells])
        return [row | {"kl_top": planted_kl(cell)} for row, cell in zip(rows, stack.cells, strict=True)]

    patch("evaluate", evaluate)
    return stacks
