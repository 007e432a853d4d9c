"""Which cells of a curve to train next, so that few of them give a narrow interval of its onset.

The half-width of the onset's interval (`sweeper.analysis.critical`) has two terms, in the coordinate x of the control
parameter: half the grid's step where the seeds cross the onset's level, and t(S − 1) standard errors of the seeds'
crossings. Where all seeds cross in one step of a coarse grid the first is all there is; else they add up. Each is
narrowed to the wanted half-width, and where the two together are still wider, the first to a quarter of it and the
second to the rest, since a gap is halved by one cell per seed, a standard error by four times the seeds. The larger is
taken up:

- *The step.* Where a seed's monotone curve passes its level lies in a gap between two of its points. The next value is
  the one that is expected to narrow the gaps most for each cell (`sweeper.refine.gaps`): halves of them, or where the
  other seeds' crossings are known better, near these. Points in training need no invented values for that: wherever the
  crossing is, they will tell on which side of them it lies. Of the values that do at least 90 % as well as the best,
  one of the fewest decimals is taken.
- *The seeds.* As many as would narrow the interval to the wanted half-width were their spread what it is now, at
  least three, or five for a half-width below 0.06: stopping as soon as an interval is narrow favours those that are
  narrow by chance (4,000 simulated, nominal 95 %: coverage 91–95 % with three, 93–95 % with five). The seeds of the
  coarse grid are trained at every new value. A further seed is trained at the fewest that the estimate asks for: the
  collapsed end, the reference, and the values about the other seeds' crossings.

Before either, a number needs a floor: where only the collapsed end lies on it, a point next to that end comes first.

A proposal is a function of the points alone, whatever their order and however they came about: asked again, with the
proposed points now in training, it gives the next ones, so workers need not wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sweeper.analysis.critical import MIN_SEEDS
from sweeper.refine.known_curve import SLACK, KnownCurve
from sweeper.refine.points import Advice, Goal, Point, Points, Wish
from sweeper.refine.seeds import certain, more_seeds
from sweeper.refine.values import nearer, next_to_the_floor

TYPICAL_STEP = 0.1  # in x: a first seed's gap narrower than this says little of where other seeds' crossings are

Rule = Callable[[KnownCurve], Wish | None]


def propose(points: Points, goal: Goal) -> Advice:
    """The next points of a curve; see the module's text. Raises ValueError where `coarse` is empty."""
    curve = KnownCurve(points, goal)

    def say(state: str, why: str, asked: Sequence[Point] = ()) -> Advice:
        return Advice(state, why, len(curve.asked), tuple(asked), curve.half_width)

    missing = curve.sorted_points(curve.coarse - curve.asked)
    if missing:
        return say("coarse", "the coarse grid with its collapsed end and the reference", missing)
    if not curve.gaps or curve.uncollapsed:
        if curve.pending:
            return say("wait", "nothing to go by yet")
        return say("stuck", curve.uncollapsed or "no seed has a value at both ends of the curve")
    enough = len(curve.gaps) >= curve.fewest
    if enough and curve.half_width is not None and curve.half_width <= goal.half_width * SLACK:
        return say("met", f"half-width {curve.half_width:.3g}, {goal.half_width:g} wanted")
    if curve.left <= 0:
        return say("spent", f"{len(curve.asked)} of at most {goal.cells} cells")
    short = False
    for rule in _rules(curve):
        wish = rule(curve)
        if wish is not None:
            if len(wish.points) + wish.spare <= curve.left:
                return say(wish.state, wish.why, wish.points)
            short = True
    if curve.pending:
        return say("wait", "what is in training decides")
    if short:
        return say("spent", f"{curve.left} of {goal.cells} cells left, too few for what comes next")
    return say("stuck", curve.transition.onset.reason or "no further cell would narrow the interval")


def _rules(curve: KnownCurve) -> Iterator[Rule]:
    """What to try, in turn: first what narrows the larger of the two terms.

    Where there are too few seeds for a number yet, further ones wait until it is known about where to train them.
    Only what they need wherever that is comes before a guess at what points in training will say.
    """
    yield next_to_the_floor
    step = max(gap.width for gap in curve.gaps.values())
    wanted = curve.wanted[0] * SLACK
    least = max(2 * wanted, TYPICAL_STEP)
    searching = any(gap.width > least for seed, gap in curve.gaps.items() if seed in curve.paired)
    if len(curve.gaps) < MIN_SEEDS and searching:
        yield from (certain, nearer) if curve.pending else (nearer, more_seeds)
    elif len(curve.gaps) < MIN_SEEDS or step / 2 < curve.halves[len(curve.gaps)] or step <= 2 * wanted:
        yield from (more_seeds, nearer)
    else:
        yield nearer
        if curve.pending:  # else nothing is left to ask for between the points, and seeds narrow the lesser term
            yield more_seeds
