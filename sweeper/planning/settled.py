"""What a study leaves open, decided by what lies in its store: which images its cells are evaluated on.

Where `evaluation.images` are fewer than the split has, they are spread over it, unless the study says otherwise. Rows
from before there was a choice were evaluated on the first ones. A study that does not say goes on with these on a store
that has such rows, so that its cells stay under one evaluation.
"""

from __future__ import annotations

from sweeper.store import Store
from sweeper.study import Study


def settled(study: Study, store: Store | None) -> Study:
    """The study with `evaluation.image_choice` said, as the store's finished cells have it where it was not."""
    if store is None or not study.image_choice_open:
        return study
    spread, first = (_ids(study.with_image_choice(choice)) for choice in ("spread", "first"))
    there = {row.evaluation_id for rows in store.committed().values() for row in rows}
    stays = there & (first - spread) and not there & (spread - first)
    return study.with_image_choice("first" if stays else "spread")


def _ids(study: Study) -> frozenset[str]:
    """Ids of the evaluations that serve the study, over its data sets."""
    names = {cell.data for cell in study.cells}
    return frozenset[str]().union(*(study.evaluation_settings(name).accepted() for name in names))
