"""The page says what the report found, whatever a store says stays text, and its parts are where they should be."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote

import pytest

from sweeper.analysis.html import page_data, render
from sweeper.analysis.html.blocks import images, section, table
from sweeper.analysis.html.markup import Html, element, json_block
from sweeper.analysis.html.quantities import quantities
from sweeper.analysis.report import analyse
from sweeper.report import write_report
from tests.sweeper.page_rows import asked, hostile_page, planted, planted_report


class Reader(HTMLParser):
    """Elements with their attributes, and the texts of scripts and of everything else."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append((self.elements[-1][1], data))
        elif self.open and self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def found():
    """A report, its rows, and the rest that a page takes."""
    return planted_report()


@pytest.fixture(scope="module")
def page(found):
    """What the page shows."""
    made, cells, history, more = found
    return page_data(made, cells, history, **more)


def block(page, kind, title=""):
    """The first block of a kind whose title begins so."""
    blocks = [b for part in page["sections"] for b in part["blocks"]]
    return next(b for b in blocks if b["kind"] == kind and b.get("title", "").startswith(title))


def test_the_page_is_plain_json_the_same_each_time_and_all_that_the_renderer_needs(found, page):
    made, cells, history, more = found
    assert page_data(made, cells, history, **more) == page
    assert render(json.loads(json.dumps(page, allow_nan=False))) == render(page)


def test_headline_has_every_curve_with_its_interval(found, page):
    made = found[0]
    headline = block(page, "table", "Critical values")
    assert [row[0] for row in headline["rows"]] == [curve.label for curve in made.curves]
    onset = made.curves[0].transition.onset
    column = headline["columns"].index("critical ρ (onset)")
    assert headline["rows"][0][column] == onset.written(onset.value)
    assert headline["rows"][0][column + 1].split("\u00a0–\u00a0") == [
        onset.written(onset.low),
        onset.written(onset.high),
    ]
    assert "10 % of the way" in headline["note"] and "ρ = 0.8" in headline["note"]
    assert [card["value"] for card in block(page, "cards")["items"]] == [
        f"ρ = {c.transition.onset.written(c.transition.onset.value)}" for c in made.curves
    ]


def test_every_cell_is_a_point_with_its_value(found, page):
    """Of the order parameter: position, value and cell id as in the curve; the diverged cell has none."""
    made = found[0]
    chart = block(page, "chart", "KL of the top layer")
    names = next(c for c in chart["controls"] if c["key"] == "architecture")["options"]
    for curve in made.curves:
        key = next(o["value"] for o in names if o["text"] == curve.architecture)
        for seed, values, ids in zip(curve.seeds, curve.values, curve.cell_ids, strict=True):
            keys = {"architecture": key, "quantity": "kl", "part": "kl_top", "seed": str(seed)}
            series = next(s for s in chart["series"] if s["keys"] == keys)
            shown = {chart["cells"][cell]: (chart["x"]["texts"][i], y) for i, y, cell in series["points"]}
            expected = {
                str(name): (f"{rho:g}", pytest.approx(value, rel=1e-4))
                for rho, value, name in zip(curve.control, values, ids, strict=True)
                if value == value
            }
            assert shown == expected
    assert chart["x"]["breaks"] and chart["x"]["at"] == sorted(chart["x"]["at"])


def test_lower_layers_keep_their_number_and_the_top_is_its_own():
    """Layer 1 of a deep network is layer 1 of a shallow one; the top layers are compared with each other."""
    kl = quantities("kl_top", 4)[0]

    row = SimpleNamespace(kl_per_layer=[3.0, 2.0, 1.0], kl_top=1.0, kl_total=6.0)
    values = {part.words: part.of(row) for part in kl.parts}
    assert values == {"top layer": 1.0, "layer 3": None, "layer 2": 2.0, "layer 1": 3.0, "all layers": 6.0}
    assert quantities("elbo", 2)[0].name == "bounds" and quantities("kl_total", 2)[0].on == "kl_total"
    assert [q.on for q in quantities("active_units_1", 3)[:2]] == ["active_units_1", "kl_top"]
    assert quantities("relative_activity_top", 2)[0].on == "relative_activity_top"
    assert quantities("kl_top", 2, bits=True)[-1].label == "bits per dimension"
    assert quantities("kl_top", 2)[-1].name == "bounds"


def test_heatmaps_count_as_the_cells_do(found, page):
    cells = found[1]
    maps = block(page, "heatmaps", "Active units over depth")
    at = {"group": "digits", "value": "0.9", "layer": "1"}
    assert not [p for p in maps["panels"] if p["keys"] == at], "keys that no cell has"
    panel = next(p for p in maps["panels"] if p["keys"] == {"group": "digits", "value": "0.89", "layer": "top"})
    assert (panel["rows"], panel["columns"]) == (["3", "2"], ["10", "20"])
    chosen = cells[(cells["architecture"] == "mlp 20-20 (64-64)") & (cells["rho"] == 0.89)]["active_units"]
    mean = chosen.map(lambda units: units[-1]).mean()
    assert float(panel["texts"][1][1]) == pytest.approx(mean, abs=0.05) and panel["texts"][0][1] is None
    assert panel["shares"][1][1] == pytest.approx(mean / 20, rel=1e-3)


def test_cells_without_a_value_are_named_with_the_reason(found, page):
    lost = block(page, "table", "Diverged and failed")
    by_state = {row[6]: dict(zip(lost["columns"], row, strict=True)) for row in lost["rows"]}
    assert by_state["failed"]["cell"] == found[3]["failures"][0].cell_id
    assert by_state["failed"]["why"] == "ValueError: no such thing"
    assert by_state["diverged"]["cell"] == found[1]["cell_id"].iloc[40] and by_state["diverged"]["step"] == 123
    assert block(page, "code", "Traceback of cell")["text"].startswith("Traceback")
    assert block(page, "table", "Not trained yet")["rows"] == [["digits", "mlp 10-10 (64-64)", 1]]


def test_cost_is_in_core_hours_and_links_are_relative(found, page):
    hardware = block(page, "table", "Hardware")
    row = dict(zip(hardware["columns"], hardware["rows"][0], strict=True))
    assert (row["training"], row["evaluation"], row["unit"]) == (
        f"{row['cells']}.00",
        f"{row['cells'] / 10:.2f}",
        "core-hours",
    )
    links = [item["href"] for item in block(page, "links")["items"]]
    assert {"critical.csv", "critical.parquet", "phase.pdf", "../cells", "../history"} <= set(links)
    assert all(not link.startswith(("/", "http")) for link in links)


def test_history_is_thinned_only_where_there_is_too_much(found, monkeypatch):
    made, cells, history, more = found
    monkeypatch.setattr("sweeper.analysis.html.training_chart.MAX_POINTS", len(history))
    chart = block(page_data(made, cells, history, **more), "chart", "Training")
    assert chart["x"]["at"] == [0, 2000, 4000, 6000] and "One evaluation in 2 is drawn" in chart["note"]


def test_more_sections_and_pictures_need_no_new_code(found):
    made, cells, history, more = found
    dot = "data:image/png;base64,AAAA"
    pairs = table("Same critical ρ?", ["pair", "ratio"], [["a – b", 1.02], ["a – c", None]], "note")
    drawn = images("Samples", [{"src": dot, "alt": "an eight", "caption": "ρ = 0.8"}])
    extra = section("comparisons", "Comparisons", pairs, drawn)
    read = Reader(render(page_data(made, cells, history, **more, sections=[extra])))
    assert {"Comparisons", "Same critical ρ?", "a – b", "1.02", "ρ = 0.8"} <= set(read.words)
    assert ("img", {"src": dot, "alt": "an eight"}) in read.elements


def test_a_store_without_results_has_a_page(tmp_path):
    cells, history = planted(latents=("10-10",))
    made = analyse(cells[:0], history[:0], study_name="empty", asked=asked(cells))
    text = render(page_data(made, cells[:0], history[:0], folder=tmp_path, asked=asked(cells)))
    assert "No cell has a result yet." in text and "Not trained yet" in text


def test_the_command_writes_a_page_whose_links_lead_somewhere(tiny):
    """Also the pictures of the cells are in it."""
    study = tiny(cells={"rho": [0.8, 1], "seed": 0}, train={"steps": 20}, evaluation={"pictures": 2, "every": 0})
    study.run()
    page = write_report(study.load(), study.opened()).page
    assert page == study.store / "analysis" / "report.html"
    text = page.read_text(encoding="utf-8")
    read = Reader(text)
    hrefs = [attributes["href"] for tag, attributes in read.elements if tag == "a"]
    files = [unquote(href) for href in hrefs if not href.startswith("#")]
    assert len(files) > 10 and all((page.parent / name).exists() for name in files)
    shown = [attributes for tag, attributes in read.elements if tag == "img"]
    assert len(shown) == 2 and all("up to z₂, the top layer, and down" in each["alt"] for each in shown)
    (picture,) = {base64.b64decode(each["src"].split(",")[1]) for each in shown if "ρ = 0.8" in each["alt"]}
    assert picture in [path.read_bytes() for path in (study.store / "pictures").iterdir()]


# --- what comes from strangers


def test_hostile_text_stays_text(page):
    """In every place a store can speak from; the page's elements are as many as without it."""
    text = render(hostile_page())
    text.encode("utf-8")  # half a surrogate pair could not be written
    read, plain = Reader(text), Reader(render(page))
    assert not {"onerror"} & {name for _, attributes in read.elements for name in attributes}
    assert "img" not in [tag for tag, _ in read.elements]
    assert len(read.scripts) == len(plain.scripts) and "\u202e" not in text and "\x00" not in text
    assert sum("owned" in word for word in read.words) > 5, "it is shown, as text"
    for attributes, script in read.scripts:
        assert attributes.get("type") != "application/json" or json.loads(script)


def test_markup_escapes_all_but_markup():
    assert element("p", "<b>", Html("<i></i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i></i></p>'
    assert "</script" not in json_block("x", "</script><!--").removesuffix("</script>")


def test_only_the_pages_own_style_and_script_may_run(page):
    """The policy names them by the hash of what stands in the file, and allows nothing else."""
    text = render(page)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#x27;", "'")
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    for name, kind in (("style", "<style>"), ("script", "<script>")):
        (inside,) = re.findall(rf"{kind}(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), "nothing is fetched"
    assert " style=" not in text


def test_headings_landmarks_and_labels(page):
    read = Reader(render(page))
    tags = [tag for tag, _ in read.elements]
    assert all(tag in tags for tag in ("header", "nav", "main", "h1", "h2", "h3", "caption")) and tags.count("h1") == 1
    assert dict(read.elements)["html"] == {"lang": "en"}
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [attributes["aria-labelledby"] for _, attributes in read.elements if "aria-labelledby" in attributes]
    targets = [a["href"][1:] for tag, a in read.elements if tag == "a" and a["href"].startswith("#")]
    assert labels and set(labels) | set(targets) <= set(ids)
    assert all(a.get("scope") for tag, a in read.elements if tag == "th")
