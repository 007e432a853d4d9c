"""The page in a real browser: drawn, readable at every width and in print, quiet, and doing what its switches say."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image

from sweeper.analysis.html import page_data, render
from tests.sweeper.browser import DESKTOP, NAMES, PHONE, Browser, find_browser
from tests.sweeper.page_rows import hostile_page, planted_report

CURVES = "figure[data-block='block-5']"  # the first chart of the page
SHOWN = f'[...document.querySelectorAll("{CURVES} g.series")].map(g => g.dataset.text)'


@pytest.fixture(scope="module")
def browser():
    """A headless browser, for all tests of the module."""
    path = find_browser()
    if path is None:
        pytest.skip(f"no browser on PATH ({', '.join(NAMES)}): the page is not looked at")
    with Browser(path) as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of planted curves, as a file."""
    path = tmp_path_factory.mktemp('a store\'s "own"') / "report.html"
    made, cells, history, more = planted_report()
    path.write_text(render(page_data(made, cells, history, **more)), encoding="utf-8")
    return path


def colours(png: bytes) -> list[tuple[int, tuple[int, int, int]]]:
    """How many pixels have which colour, most first."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return sorted(image.getcolors(image.width * image.height), reverse=True)


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, False), (PHONE, True)])
def test_all_is_drawn_within_the_window_and_nothing_complains(browser, page, size, dark):
    browser.open(page, size, dark)
    counts = browser.value(
        "['.cards li', 'figure svg[role=application]', 'table.heat', 'g.series', '.mark .dark']"
        ".map(s => document.querySelectorAll(s).length)"
    )
    assert counts[:2] == [3, 3] and counts[2] >= 4 and counts[3] > 20 and counts[4] == 3
    assert browser.value("document.documentElement.scrollWidth") == size[0], "no sideways scrolling"
    boxes = browser.value(
        "[...document.querySelectorAll('figure svg text')].map(t => t.getBoundingClientRect())"
        ".filter(r => r.left < 0 || r.right > innerWidth).length"
    )
    assert boxes == 0, "labels that leave the window"
    browser.value(f'document.querySelector("{CURVES}").scrollIntoView()')
    found = colours(browser.screenshot())
    pixels = sum(count for count, _ in found)
    assert found[0][0] < 0.97 * pixels and len(found) > 50, "blank"
    assert (sum(found[0][1]) < 200) == dark
    assert browser.complaints == []


def test_switches_hide_what_they_name(browser, page):
    browser.open(page)
    before = browser.value(SHOWN)
    assert any("seed 1" in text for text in before)
    browser.click(f"{CURVES} input[data-key=seed][data-value='1']")
    assert browser.value(SHOWN) == [text for text in before if "seed 1" not in text]
    browser.click(f"{CURVES} input[data-key=architecture][data-value='0']")
    left = browser.value(SHOWN)
    assert left and not any("mlp 10-10 (64-64)" in text for text in left)
    assert browser.value(f'document.querySelectorAll("{CURVES} .legend:not(.printed) li").length') == 2
    browser.click(f"{CURVES} input[data-key=mark]")
    assert browser.value("document.querySelectorAll('.mark .dark').length") == 0
    browser.click(f"{CURVES} input[data-key=part][data-value='kl_1']")
    assert any("layer 1" in text for text in browser.value(SHOWN))
    assert browser.complaints == []


def test_logarithmic_axis_says_what_it_cannot_show(browser, page):
    """KL terms below the top may be negative."""
    text = page.read_text(encoding="utf-8")
    altered = page.with_name("negative.html")
    altered.write_text(
        re.sub(r'("part":"kl_top","seed":"0"\},"style":\{[^}]*\},"points":\[\[\d+),[\d.]+', r"\1,-1", text, count=1),
        encoding="utf-8",
    )
    browser.open(altered)
    browser.click(f"{CURVES} input[data-key=log]")
    assert browser.value(f'document.querySelector("{CURVES} .said").textContent') == (
        "1 value at or below 0 not on the logarithmic scale."
    )
    labels = browser.value(f'[...document.querySelectorAll("{CURVES} svg[role] text")].map(t => t.textContent)')
    assert {"0.1", "1", "10"} & set(labels)


def test_points_are_read_by_pointer_and_by_keys(browser, page):
    """The value, the cell id and the seed; arrows go along the curve and between curves."""
    browser.open(page)
    tip = f'document.querySelector("{CURVES} .tip").innerText'
    browser.hover(f"{CURVES} g.series.faint path.marker")
    said = browser.value(tip)
    assert "seed 0" in said and "ρ = 0.8" in said and re.search(r"KL term \(nats\): [\d.]+", said)
    assert re.search(r"cell [0-9a-f]{24}", said)
    browser.value(f'document.querySelector("{CURVES} svg[role]").focus()')
    browser.press("Home")
    first = browser.value(tip)
    assert "ρ = 0.8\n" in first, "the failed cell at 0.75 has no point"
    browser.press("ArrowRight")
    assert "ρ = 0.84" in browser.value(tip)
    browser.press("End")
    assert "ρ = 1" in browser.value(tip)
    browser.press("Home")
    browser.press("ArrowDown")
    assert browser.value(tip) != first and "ρ = 0.8\n" in browser.value(tip)
    browser.press("Escape")
    assert browser.value(f'document.querySelector("{CURVES} .tip").hidden')


def test_the_slider_moves_the_heatmap_and_the_selection_the_chart(browser, page):
    browser.open(page)
    field = "[...document.querySelectorAll('figure.heatmaps')].pop().querySelector('td').textContent"
    browser.value("document.querySelector('input[type=range]').focus()")
    at_first = browser.value(field)
    browser.press("End")
    assert browser.value(field) != at_first
    assert browser.value("document.querySelector('input[type=range]').getAttribute('aria-valuetext')") == "1"
    pick = (
        "(s => { s.value = 'active_units'; s.dispatchEvent(new Event('change')); })(document.querySelector('select'))"
    )
    browser.value(pick)
    assert "active units" in browser.value(f'[...document.querySelectorAll("{CURVES} .label")].map(t => t.textContent)')
    assert any("top layer" in text for text in browser.value(SHOWN))
    assert browser.value(f"document.querySelector(\"{CURVES} input[data-value='kl_1']\").closest('label').hidden")


def test_nothing_of_a_stranger_runs(browser, page):
    path = page.with_name("hostile.html")
    path.write_text(render(hostile_page()), encoding="utf-8")
    browser.open(path)
    assert "owned" not in browser.value("document.title").split("</script>")[0]
    assert browser.value("document.title").startswith("</script><script>")
    assert browser.value("document.querySelectorAll('img').length") == 0
    assert browser.value("document.querySelectorAll('.legend li').length") > 0
    assert browser.complaints == []


def test_what_slips_in_all_the_same_is_refused(browser, page):
    """The policy stands even where escaping would not: no script, style or picture but the page's own."""
    text = page.read_text(encoding="utf-8")
    slipped = page.with_name("slipped.html")
    slipped.write_text(
        text.replace("<main", "<script>document.title = 'owned'</script><img src='https://example.org/x.png'><main", 1),
        encoding="utf-8",
    )
    browser.open(slipped)
    assert browser.value("document.title") == "planted study · sweeper"
    assert sum("Content Security Policy" in complaint for complaint in browser.complaints) == 2


def test_without_scripts_the_numbers_are_there(browser, page):
    browser.open(page, scripts=False)
    said = browser.ask("Runtime.evaluate", expression="document.body.innerText")["result"]["value"]
    assert "Critical values" in said and "A script draws this" in said and "study.yaml, as last run" in said


def test_print_has_the_figures_and_no_switches(browser, page):
    browser.open(page)
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF") and len(pdf) > 30_000 and len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 3
    browser.ask("Emulation.setEmulatedMedia", media="print")
    shown = "[...document.querySelectorAll('{}')].filter(e => e.offsetParent).length"
    assert browser.value(shown.format(".controls")) == 0
    assert browser.value(shown.format(".printed li")) > 0, (
        "what the lines are must be said where nothing can be switched"
    )
    browser.ask("Emulation.setEmulatedMedia", media="screen")
