"""One row per method: which cells a row holds, what it is called, and where it is shown."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from models.cell import Cell
from sweeper.analysis import figures
from sweeper.analysis.comparisons import compare_curves
from sweeper.analysis.curves import curves
from sweeper.analysis.figures.methods import nll_activity_data
from sweeper.analysis.files import write_files
from sweeper.analysis.html import page_data, render
from sweeper.analysis.html.blocks import ranked, section, table
from sweeper.analysis.methods import by_layer, method_table, named, printed, several_methods, shortened
from sweeper.analysis.report import analyse
from sweeper.analysis.variants import methods, variants
from sweeper.parameters.control import RHO
from tests.sweeper.browser import NAMES, Browser, find_browser
from tests.sweeper.synthetic import rows_of, store

PLAIN = Cell(data="digits", latents="10-10-10", hidden="64-64", objective="vae", seed=0)
SIX = [
    PLAIN,
    replace(PLAIN, free_bits=0.5),
    replace(PLAIN, kl_warmup_steps=3000),
    replace(PLAIN, objective="ou", rho=0.85),
    replace(PLAIN, objective="ou", rho=0.9),
    replace(PLAIN, objective="ou", rho=0.9, kl_warmup_steps=3000),
]
WORDS = [
    "vae", "vae, free bits 0.5", "vae, kl warmup steps 3000", "ou, rho 0.85", "ou, rho 0.9",
    "ou, kl warmup steps 3000, rho 0.9",
]  # fmt: skip


def seeds(cells, count=3):
    return [replace(cell, seed=seed) for cell in cells for seed in range(count)]


@pytest.fixture(scope="module")
def six() -> pd.DataFrame:
    """Six methods, 3 seeds: a top KL of 1, 2, … nats by method, 0.1 apart by seed, and what a cell cost."""
    of = {replace(cell, seed=0).canonical().to_json(): 1.0 + index for index, cell in enumerate(SIX)}
    rows = rows_of(seeds(SIX), lambda cell: of[replace(cell, seed=0).to_json()] + 0.1 * cell.seed)
    more = {"iw_samples": 100, "reconstruction": -20.0, "kl_total": 5.0, "wall_s": 60.0, "images": 500}
    return rows.assign(iw_bound=rows["elbo"] + 1, peak_memory_bytes=2 * 10**8, stack_cells=3, **more)


def test_a_method_is_called_by_its_objective_and_what_is_unusual_of_it():
    """What a setting lacks or has at its default is said of the others; a field of a later version needs no code."""
    fields = [{k: v for k, v in cell.canonical().written().items() if k != "seed"} for cell in SIX]
    assert methods(fields) == WORDS
    assert variants(fields) == WORDS  # objectives differ
    assert variants(fields[:2]) == ["free bits 0", "free bits 0.5"]
    later = [fields[0], fields[0] | {"prior": "vamp", "inputs_of_it": 20}]
    assert methods(later) == ["vae", "vae, inputs of it 20, prior vamp"]
    assert methods(fields[:1]) == ["vae"] and methods([]) == []


def test_pairs_of_methods_have_their_names():
    grid = (0.8, 0.85, 0.9, 0.95, 1.0)
    some = [PLAIN, replace(PLAIN, free_bits=0.5), replace(PLAIN, objective="iwae", chains=5)]
    smoothed = [replace(cell, objective={"vae": "ou"}.get(cell.objective, "ou_iwae")) for cell in some]
    rows = rows_of(
        seeds([replace(cell, rho=rho) for cell in smoothed for rho in grid]), lambda cell: 20 * (1 - cell.rho)
    )
    pairs = {(pair.first, pair.second) for pair in compare_curves(curves(rows))}
    assert pairs == {
        ("ou", "ou, free bits 0.5"), ("ou", "ou_iwae, chains 5"), ("ou, free bits 0.5", "ou_iwae, chains 5"),
    }  # fmt: skip


def test_a_field_that_is_not_said_has_its_default():
    assert variants([{"prior": "vamp"}, {}]) == ["prior vamp", "prior normal"]


def test_an_option_that_no_part_of_a_setting_has_is_not_said_of_it():
    refined = {"procedure": "semi_amortized", "svi_steps": 5}
    assert variants([refined, {}]) == ["procedure semi_amortized, svi steps 5", "procedure joint"]
    assert variants([{"batch_size": 32}, {}]) == ["batch size 32", "batch size 64"]  # every setting has one


def test_a_row_holds_all_seeds_with_mean_and_deviation(six):
    found = method_table(six, curves(six), RHO)
    assert sorted(found["method"]) == sorted(WORDS) and (found["seeds"] == 3).all()
    row = found[found["method"] == "vae, free bits 0.5"].iloc[0]
    assert row["kl_top"] == pytest.approx(2.1) and row["kl_top_deviation"] == pytest.approx(0.1)
    cells = six[six["free_bits"] == 0.5]
    assert row["active_units"] == pytest.approx(np.stack(cells["active_units"].to_list()).mean(axis=0).tolist())
    assert (
        row["active_total"] == pytest.approx(sum(row["active_units"])) and row["active_top"] == row["active_units"][-1]
    )
    assert (row["steps"], row["split"], row["iw_samples"], row["wall_s"]) == (6000, "test", 100, 60)
    assert "mutual_information" not in found  # nobody asked for it
    asked = six.assign(mutual_information=[[3.0, 2.0, 0.1 * seed] for seed in six["seed"]])
    known = method_table(asked, curves(six), RHO)
    assert known["mutual_information_top"].to_numpy() == pytest.approx(0.1)


def test_diverged_cells_are_counted_and_no_part_of_a_mean(six):
    lost = six.copy()
    place = lost.index[(lost["free_bits"] == 0.5) & (lost["seed"] == 2)][0]
    lost.loc[place, ["state", "kl_top", "elbo"]] = ["diverged", np.nan, np.nan]
    lost.at[place, "active_units"] = None
    row = method_table(lost, curves(lost), RHO).set_index("method").loc["vae, free bits 0.5"]
    assert (row["seeds"], row["n_diverged"]) == (2, 1) and row["kl_top"] == pytest.approx(2.05)


@pytest.mark.parametrize("count", [1, 6], ids=["one of them", "all"])
def test_methods_whose_cells_all_diverged_are_rows_without_numbers(six, blank_figures, tmp_path, count):
    lost = six.copy()
    words = named(lost, curves(lost))["method"]
    gone = words.isin(WORDS[:count])
    lost.loc[gone, "state"] = "diverged"
    lost.loc[gone, ["kl_top", "elbo", "iw_bound"]] = np.nan
    lost["active_units"] = lost["active_units"].where(~gone, None)
    report = analyse(lost, pd.DataFrame(), study_name="planted")
    json.dumps(report.to_dict(), allow_nan=False)
    write_files(report, lost, pd.DataFrame(), tmp_path)
    found = pd.read_csv(tmp_path / "methods.csv").set_index("method")
    assert found.loc["vae", ["seeds", "n_diverged"]].tolist() == [0, 3]
    heads, rows = printed(report.methods)
    (row,) = [row for row in rows if row[0].text == "vae"]
    assert row[heads.index("seeds")].text == "0" and row[heads.index("active units")].text is None


def test_methods_are_compared_where_there_are_some():
    """Not along ρ alone, nor where sizes, data or the optimisation differ; two objectives are methods."""
    assert not several_methods(curves(store(data=("mnist", "omniglot"), latents=("10-10", "20-20"))[0]))
    assert not several_methods([])
    one = [replace(PLAIN, objective="ou", rho=rho) for rho in (0.8, 0.85, 0.9, 0.95)]
    other_batch = [replace(cell, batch_size=128) for cell in one]
    assert not several_methods(curves(rows_of(seeds([*one, *other_batch]), lambda _: 1.0)))
    free = [replace(cell, free_bits=0.5) for cell in one]
    assert several_methods(curves(rows_of(seeds([*one, *free]), lambda _: 1.0)))
    assert several_methods(curves(rows_of(seeds(SIX[:1] + SIX[4:5]), lambda _: 1.0)))  # as in table 7


def test_cells_of_a_swept_curve_share_its_words_and_a_terminal_shows_its_ends():
    grid = (0.8, 0.85, 0.9, 0.95, 1.0)
    some = [replace(PLAIN, objective="ou", rho=rho, free_bits=bits) for rho in grid for bits in (0.0, 0.5)]
    rows = rows_of(seeds([*some, replace(PLAIN, kl_weight=0.5)]), lambda _: 1.0)
    found = named(rows, curves(rows))
    assert set(found["curve"]) == {"ou", "ou, free bits 0.5", "vae, kl weight 0.5"}
    table = method_table(rows, curves(rows), RHO)
    assert len(table) == 2 * len(grid) + 1
    short = shortened(table, RHO, 0.8)
    assert sorted(short["method"]) == [
        "ou, free bits 0.5, rho 0.8", "ou, rho 0.8", "vae", "vae, free bits 0.5", "vae, kl weight 0.5",
    ]  # fmt: skip


def test_a_printed_row_reads_as_in_a_paper(six):
    heads, rows = printed(method_table(six, curves(six), RHO))
    assert heads == [
        "method", "ELBO", "L100", "reconstruction", "KL", "top KL", "active units", "s/cell", "MB", "seeds", "steps",
    ]  # fmt: skip
    (row,) = [row for row in rows if row[0].text == "vae, free bits 0.5"]
    said = {head: field.text for head, field in zip(heads, row, strict=True)}
    assert (said["top KL"], said["KL"], said["MB"], said["steps"]) == ("2.10 ± 0.10", "5.00 ± 0.00", "200", "6000")
    assert by_layer([10, 9.3333, 0.3]) == "10-9.3-0.3" and by_layer(None) is None


def test_bits_per_dimension_stand_beside_the_bounds_where_there_are_any(six):
    """With three digits, as papers print them; no column where no cell has them."""
    cells = six.assign(bits_per_dim=3.5 + 0.01 * six["seed"], bits_per_dim_iw=3.4)
    heads, rows = printed(method_table(cells, curves(cells), RHO))
    assert heads[1:5] == ["ELBO", "L100", "bits/dim", "bits/dim of L100"]
    assert [rows[0][3].text, rows[0][4].text] == ["3.510 ± 0.010", "3.400 ± 0.000"]
    assert not any("bits" in head for head in printed(method_table(six, curves(six), RHO))[0])
    without = six.assign(bits_per_dim=np.nan, bits_per_dim_iw=np.nan)
    assert not any("bits" in head for head in printed(method_table(without, curves(without), RHO))[0])


def test_a_report_has_the_methods_as_table_figure_and_json(six, blank_figures, tmp_path):
    report = analyse(six, pd.DataFrame(), study_name="planted")
    assert report.methods is not None and len(report.to_dict()["methods"]) == 6
    json.dumps(report.to_dict(), allow_nan=False)
    written = write_files(report, six, pd.DataFrame(), tmp_path)
    assert {path.name for path in written.tables} >= {"methods.csv", "methods.parquet"}
    assert len(pd.read_csv(tmp_path / "methods.csv")) == 6
    assert "nll_activity.svg" in {path.name for path in written.figures}
    along = store()[0]
    assert analyse(along, pd.DataFrame(), study_name="planted").methods is None


def test_the_figure_has_a_mark_for_every_cell(six, tmp_path):
    found = curves(six)
    data = nll_activity_data(six, found, RHO)
    assert len(data) == len(six) and set(data["label"]) == set(WORDS)
    assert data["nll"].to_numpy() == pytest.approx(-six.set_index("cell_id").loc[data["cell_id"], "iw_bound"])
    figure = figures.nll_activity_figure(found, six)
    marks = [sum(len(line.get_xdata()) for line in axes.lines) for axes in figure.axes[:2]]
    assert marks == [len(six)] * 2
    with figures.styled():
        figure.savefig(tmp_path / "nll.svg")
    text = (tmp_path / "nll.svg").read_text(encoding="utf-8")
    assert all(word in text for word in ["−L100 (nats)", "active units, top layer", "vae, free bits 0.5"])
    assert figures.nll_activity_figure(found, six.assign(state="diverged")) is None


def test_without_a_bound_the_figure_has_the_elbo(six):
    data = nll_activity_data(six.assign(iw_bound=None), curves(six), RHO)
    assert set(data["samples"]) == {1} and data["nll"].min() == pytest.approx(-six["elbo"].max())


def test_the_page_sorts_its_methods(six, tmp_path):
    """By a button in each head: smallest first, then largest; by number where a field has one, by its text else."""
    path = find_browser()
    if path is None:
        pytest.skip(f"no browser on PATH ({', '.join(NAMES)})")
    page = tmp_path / "report.html"
    more = {"device": "cpu", "device_name": "a CPU", "threads": 1, "evaluation_s": 1.0, "step_s": 0.01}
    versions = {"version_sweeper": "0.1.0", "version_torch": "2.13.0", "git_revision": "abc123"}
    rows = six.assign(**more, **versions, finished_at=pd.Timestamp("2026-01-01", tz="UTC"))
    report = analyse(rows, pd.DataFrame(), study_name="planted")
    empty = table("t", ["a", "b"], [["x10", None], ["x9", ranked("2 ± 1", 2.0)], ["x1", 10]], sortable=True)
    shown = page_data(report, rows, pd.DataFrame(), folder=tmp_path, sections=[section("t", "T", empty)])
    page.write_text(render(shown), encoding="utf-8")
    first = "#methods table.sortable"

    def column(table: str, number: int) -> list[str]:
        rows = f"[...document.querySelectorAll('{table} tbody tr')]"
        return browser.value(f"{rows}.map(row => row.cells[{number}].textContent)")

    with Browser(path) as browser:
        browser.open(page)
        browser.click(f"{first} th:nth-child(6) button")
        kl = [float(text.split()[0]) for text in column(first, 5)]
        assert kl == sorted(kl) and len(kl) == 6
        browser.click(f"{first} th:nth-child(6) button")
        assert [float(text.split()[0]) for text in column(first, 5)] == kl[::-1]
        assert browser.value(f"document.querySelector('{first} th:nth-child(6)').ariaSort") == "descending"
        browser.click("#t th:nth-child(1) button")
        assert column("#t table", 0) == ["x1", "x9", "x10"]
        for _ in range(2):
            browser.click("#t th:nth-child(2) button")
            assert column("#t table", 1)[-1] == ""
        assert browser.complaints == []
        assert Image.open(io.BytesIO(browser.screenshot())).size[0] > 0


def test_a_store_of_methods_reports_them_on_the_terminal(tiny, sweeper_command):
    study = tiny(
        cells={"rho": 1, "objective": "vae", "smoothing_samples": None, "free_bits": [0, 1]}, train={"steps": 5}
    )
    study.run()
    shown = sweeper_command.run(["report", str(study.store)])
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert any(line.startswith("method ") and "top KL" in line and "active units" in line for line in lines)
    assert any(line.startswith("vae, free bits 1 ") for line in lines)
    assert not any("no critical ρ" in line for line in lines)
    found = pd.read_csv(study.store / "analysis" / "methods.csv")
    rows = study.opened().cells()
    free = rows[rows["free_bits"] == 1]["elbo"]
    assert found.set_index("method").loc["vae, free bits 1", "elbo"] == pytest.approx(free.mean())
