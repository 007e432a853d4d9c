"""Pictures beside the rows: a picture any program opens, whole before the commit, gone where its row goes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from store_rows import cell_id, history, row

from sweeper.errors import StoreDamaged
from sweeper.planning import make_plan
from sweeper.store import Store
from sweeper.store.pictures import _part, check_png, to_png

DRAWN = {
    name: np.full((3, 4, 5), shade, np.uint8) for name, shade in (("images", 0), ("from z1", 200), ("samples", 255))
}


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "store")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_picture_is_a_grid_that_other_programs_read():
    """Three rows of three images of 4 × 5 pixels, a grey pixel between."""
    image = Image.open(io.BytesIO(to_png(DRAWN)))
    grid = np.asarray(image)
    assert image.mode == "L" and grid.shape == (3 * 5 - 1, 3 * 6 - 1)
    assert (grid[0:4, 0:5] == 0).all() and (grid[5:9, 6:11] == 200).all() and (grid[10:14, 12:17] == 255).all()
    assert (grid[4] == 128).all() and (grid[:, 5] == 128).all()
    assert check_png(to_png(DRAWN)) == list(DRAWN)


def test_a_picture_in_colour_is_one_in_red_green_and_blue():
    """Given channel by channel."""
    drawn = {name: np.zeros((3, 3, 4, 5), np.uint8) for name in ("images", "samples")}
    drawn["images"][1] = np.arange(60).reshape(3, 4, 5)
    image = Image.open(io.BytesIO(to_png(drawn)))
    grid = np.asarray(image)
    assert image.mode == "RGB" and grid.shape == (2 * 5 - 1, 3 * 6 - 1, 3)
    assert np.array_equal(grid[0:4, 6:11], np.moveaxis(drawn["images"][1], 0, -1))
    assert (grid[4] == 128).all() and (grid[:, 5] == 128).all() and check_png(to_png(drawn)) == list(drawn)


def test_any_altered_byte_is_noticed():
    whole = to_png(DRAWN)
    for place in range(len(whole)):
        with pytest.raises(StoreDamaged):
            check_png(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for end in range(0, len(whole), 7):
        with pytest.raises(StoreDamaged):
            check_png(whole[:end])


def test_a_small_file_that_unpacks_to_a_huge_picture_is_refused():
    whole = to_png(DRAWN)
    header = whole[16:29]
    huge = whole.replace(_part(b"IHDR", header), _part(b"IHDR", b"\0\0\xff\xff" * 2 + header[8:]))
    assert huge != whole
    with pytest.raises(StoreDamaged):
        check_png(huge)


def test_pictures_come_with_the_row_and_go_with_it(store):
    older, newer = to_png(DRAWN), to_png({"samples": DRAWN["samples"]})
    store.commit(row(1, 500), history(1, 500), older)
    assert store.pictures(cell_id(1)) == (older, list(DRAWN)) and store.check() == []
    store.commit(row(1, 1000), history(1, 1000), newer)
    assert store.pictures(cell_id(1)) == (newer, ["samples"])
    assert names(store.paths.superseded / "pictures") == [f"{cell_id(1)}-000000500-abcd1234.png"]
    store.commit(row(2), history(2))
    assert store.pictures(cell_id(2)) is None and store.pictures(cell_id(3)) is None
    with store.lock():
        assert store.repair() == []
    assert names(store.paths.pictures) == [f"{cell_id(1)}-000001000-abcd1234.png"]


def test_what_a_killed_commit_left_is_swept_and_torn_pictures_cost_no_row(store):
    """Pictures without a row are of no use; a row without its pictures is whole."""
    store.commit(row(1), history(1), to_png(DRAWN))
    store.paths.picture(f"{cell_id(2)}-000000500-abcd1234.parquet").write_bytes(to_png(DRAWN))
    thesis = store.paths.pictures / "thesis.png"  # of somebody else, and left alone
    thesis.write_bytes(b"mine")
    with store.lock():
        assert store.repair() == []
    (path,) = set(store.paths.pictures.iterdir()) - {thesis}
    path.write_bytes(path.read_bytes()[:-1])
    assert [(fault.path, fault.left_alone) for fault in store.check()] == [(path, False), (thesis, True)]
    with store.lock():
        assert store.repair() == []
    assert store.pictures(cell_id(1)) is None and store.cells()["cell_id"].tolist() == [cell_id(1)]


def test_a_store_from_before_pictures_takes_them(store):
    for folder in (store.paths.pictures, store.paths.superseded / "pictures"):
        folder.rmdir()
    store.commit(row(1), history(1), to_png(DRAWN))
    store.commit(row(1, 1000), history(1, 1000), to_png(DRAWN))
    assert store.pictures(cell_id(1)) and names(store.paths.superseded / "pictures")


def test_a_run_draws_what_the_study_asks_for_and_another_number_asks_for_nothing(tiny):
    study = tiny(cells={"rho": [0.8, 1], "seed": 0}, train={"steps": 20}, evaluation={"pictures": 3})
    study.run()
    store = study.opened()
    for name in store.committed():
        data, shown = store.pictures(name)
        assert shown == ["images", "from z1", "from z2", "samples"]
        assert Image.open(io.BytesIO(data)).size == (3 * 9 - 1, 4 * 9 - 1)
    assert make_plan(study.load("evaluation.pictures=5"), store).missing == ()
    before = names(store.paths.pictures)
    study.run("evaluation.pictures=0", "train.steps=40")
    assert names(store.paths.superseded / "pictures") == before and names(store.paths.pictures) == []
