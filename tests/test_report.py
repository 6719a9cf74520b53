"""The page: complete, alone, the same twice, true where little is known; and alive and legible in a real browser."""

import itertools
import json
import re
import shutil
from html.parser import HTMLParser

import made
import numpy as np
import pandas as pd
import pytest
from markupsafe import Markup

from tradeoff.report import figures, flips, sections
from tradeoff.report.figures import Figure
from tradeoff.report.marks import COLOURS, looks
from tradeoff.report.page import Section
from tradeoff.report.page import page as page_of
from tradeoff.report.results import Pair, points_text, rate_text, span_text
from tradeoff.tables import schemas
from tradeoff.tables.verdicts import TAKE, UNSHOWN

MOST_BYTES = 5_000_000
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SMALL = {"models": ("qwen2.5-3b",), "domains": ("medcalc",), "general": ("ifeval", "base_text"), "items": 40}
SMALL |= {"methods": ("sft", "talr"), "rates": (1e-6, 2e-5), "seeds": (0,), "fractions": ()}
DEGENERATE = {
    "one method": {"methods": ("sft",)},
    "one rate": {"rates": (1e-6,)},
    "one item": {"items": 1},
    "no divergence": {"general": ("ifeval",)},
    "no gain": {"helps": 0.0},
    "nothing but the least": {"methods": ("l2",), "rates": (1e-6,), "items": 1, "general": ("ifeval",)},
}

# How dichromats see linear RGB (Machado et al. 2009, severity 1).
EYES = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


@pytest.fixture(scope="module")
def results():
    return made.study(items=40, fractions=(0.5,))


@pytest.fixture(scope="module")
def small():
    return made.study(**SMALL)


@pytest.fixture(scope="module")
def drawn(results):
    return figures.all_figures(results)


@pytest.fixture(scope="module")
def page(results, drawn):
    return sections.report(results, drawn)


class _Links(HTMLParser):
    """Every address that a browser would load or go to, and all text in scripts."""

    def __init__(self):
        super().__init__()
        self.found, self.ids, self.tags = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "poster", "srcset"):
                self.found.append(value)
            if name == "id":
                self.ids.add(value)


def parsed(page):
    links = _Links()
    links.feed(page)
    return links


def text_of(page):
    return " ".join(re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", page, flags=re.S).split())


def titles_of(page):
    return re.findall(r"<h2 id[^>]*>(.*?)</h2>", page)


# The page as bytes


def test_the_page_is_small_and_loads_nothing(page):
    assert len(page.encode()) < MOST_BYTES
    links = parsed(page)
    assert all(link.startswith(("#", "data:")) for link in links.found)
    assert not {"iframe", "object", "embed", "link rel=stylesheet"} & set(links.tags)
    assert "@import" not in page
    assert not re.search(r"url\((?!#|data:)", re.search(r"<style>.*?</style>", page, re.S)[0])


def test_every_link_leads_somewhere(page):
    links = parsed(page)
    assert {link[1:] for link in links.found if link.startswith("#")} <= links.ids


def test_the_same_tables_give_the_same_bytes(results, page):
    assert sections.report(results, figures.all_figures(results)) == page


def test_figures_are_the_same_bytes_twice(small, tmp_path):
    for draw in (figures.pareto, figures.views):
        assert figures.svg(draw(small)) == figures.svg(draw(small))
    for folder in ("one", "two"):
        figures.save(figures.hypervolume(small), tmp_path / folder)
    for name in ("hypervolume.svg", "hypervolume.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_still_figure_holds_every_model_and_domain(results, drawn):
    drawing = figures.svg(drawn[-1])
    assert all(f">{pair}<" in drawing for pair in results.pairs)
    assert 'role="img" aria-label="Dot plot' in drawing


@pytest.mark.parametrize(
    ("methods", "models", "domains"),
    [
        (["sft", "l2"], 3, 4),
        (made.long_names(30), 1, 1),
    ],
    ids=["2", "30 long"],
)
def test_a_still_figure_is_never_wide_and_names_every_method(methods, models, domains):
    results = made.copied(methods, [f"model-{n}" for n in range(models)], [f"domain_{n}" for n in range(domains)])
    drawings = {figure.name: figures.svg(figure) for figure in figures.all_figures(results)}
    assert max(map(made.width, drawings.values())) <= 2000
    for name, drawing in drawings.items():
        assert [method for method in methods if f">{method}<" not in drawing] == [], name
        assert "…" not in drawing


def test_a_method_s_two_panels_of_rates_stay_together_where_a_line_is_full():
    methods = [f"recipe_{n}" for n in range(12)]
    drawing = figures.svg(figures.rates(made.copied(methods, ["m"], ["d"])))
    titles = re.findall(r">(recipe_\d+), (domain|general)<", drawing)
    assert titles == list(itertools.product(methods, ("domain", "general")))


def test_texts_of_items_are_escaped(results, page):
    assert made.NASTY in set(results.tables["samples"]["prompt"])
    assert "<b>bold</b>" not in page
    assert "&lt;/script&gt;&lt;b&gt;bold" in page
    assert page.count("<script") == page.count("</script>") == 3


def test_a_name_cannot_end_a_script():
    figure = Figure("f", figures.spec_of({"mark": "point", "title": "</script><b>"}), "c", "a")
    assert "</script><b>" not in sections.page("t", "l", [Section("S", Markup("<p>x</p>"), (figure,))])


# What it says


def test_the_answer_comes_first_and_says_how_sure_it_is(results, page):
    text = text_of(page)
    table = results.tables["recommendation"]
    for row in table.to_dict("records"):
        assert row["verdict"] in text or row["verdict"] == UNSHOWN
        assert row["reason"] in text.replace("&#39;", "'")
        assert (row["caveat"] or "") in text
    first = text.index("of general loss take talr")
    assert first < text.index("Accepted loss", first) < text.index("short of the best by at most")
    assert set(table["verdict"]) >= {"cannot be shown", "not enough evidence"}
    taken = table[table["verdict"].isin(TAKE)]
    assert set(taken["method"]) == {"talr"}  # what was made so much better
    assert re.search(r"of general loss take talr at \d+e-\d+: \+", text)
    assert "best estimate: " in text
    assert text.count("No data can show that nothing at all is lost") == len(results.pairs)


def test_all_sections_are_there_in_order(page):
    expected = "Recommendation|The trade-off|Accepted losses|Learning rates|Each benchmark|On the way|Fair views"
    expected += "|Hypotheses|Against the paper|Runs|Answers that flipped|Provenance|Settings"
    assert titles_of(page) == expected.split("|")


def test_every_run_is_in_the_table_and_has_its_card(results, page):
    rows = re.search(r'<table class="sortable".*?</table>', page, re.S)[0]
    for card in results.cards:
        assert rows.count(f'href="#run-{card["run_id"]}"') >= 2
        assert page.count(f'id="run-{card["run_id"]}"') == 1
    assert page.count("&#34;delta_sha256&#34;") == len(results.cards)
    base = results.tables["scores"].iloc[0]["run_id"]
    assert f'id="run-{base}"' in page


def test_captions_state_the_settings(drawn):
    for figure in drawn:
        assert figure.caption.endswith(made.SETTINGS)
        assert figure.alt_text
        assert figure.table is not None


def test_the_page_tells_versions_and_settings(results, page):
    assert "vl-convert-python 1." in text_of(page)
    assert "&#34;precision&#34;: &#34;bfloat16&#34;" in page


def test_more_sections_come_before_the_runs(results, drawn):
    chart = {"data": {"values": [{"a": 1}]}, "mark": "point", "encoding": {"x": {"field": "a", "type": "quantitative"}}}
    more = Section("Theory", figures=(Figure("theory", chart, "A caption.", "One dot."),))
    page = sections.report(results, drawn, [more])
    titles = titles_of(page)
    assert titles[titles.index("Runs") - 1] == "Theory"
    assert 'aria-label="One dot."' in page
    assert 'data-chart="theory-0"' in page


@pytest.mark.parametrize("changed", DEGENERATE.values(), ids=DEGENERATE)
def test_little_is_told_as_little(changed):
    results = made.study(**SMALL | changed)
    drawn = figures.all_figures(results)
    text = text_of(sections.report(results, drawn))
    assert "so nothing is known of the way of a training" in text
    assert "Against the paper" not in text or not results.tables["against_paper"].empty
    assert "nan" not in text.lower().split()
    assert re.search("not enough evidence|nothing qualifies", text)
    assert not re.search("general loss take", text)
    if "methods" in changed or "rates" in changed:
        assert "the study has" in text
    if "items" in changed:
        for figure in drawn:
            assert figures.svg(figure).startswith("<svg ")


# Items that flipped


def test_flipped_items_go_the_way_that_is_said(results):
    asked = flips.wanted(*(results.tables[name] for name in ("recommendation", "tradeoff", "scores")))
    assert asked[Pair("qwen3-4b", "esci")][0] == "talr at 2e-05"
    for of in flips.flips(results.tables["samples"], asked, results.benchmarks, results.scored):
        assert len(of.gained) <= flips.EACH_WAY
        assert of.counts[0] >= len(of.gained) > 0
        for flip in of.gained:
            assert flip.after.endswith(f"Answer: {flip.target}")
            assert not flip.before.endswith(f"Answer: {flip.target}")
        for flip in of.lost:
            assert flip.before.endswith(f"Answer: {flip.target}")


def test_only_the_runs_that_are_asked_for_are_read(results, tmp_path):
    schemas.write(tmp_path / "samples.parquet", results.tables["samples"], schemas.SAMPLES)
    run = results.cards[0]["run_id"]
    assert set(flips.read(tmp_path / "samples.parquet", [run])["run_id"]) == {run}


# Marks


def test_each_method_has_a_mark_of_its_own():
    made_up = looks([f"m{i}" for i in range(40)])
    assert len({(look.colour, look.shape) for look in made_up}) == 40
    assert all(look.outline for look in made_up)


def test_marks_stand_out_from_the_paper():
    assert min(contrast(rgb(colour), (255, 255, 255)) for colour in COLOURS) >= 3.0


@pytest.mark.parametrize("eyes", EYES)
def test_six_methods_are_told_apart_by_all_eyes(eyes):
    for one, other in itertools.combinations(COLOURS[:6], 2):
        assert np.linalg.norm(oklab(one, eyes) - oklab(other, eyes)) > 0.08, (one, other)


def test_an_interval_in_words():
    row = {"a": 0.12345, "a_low": -0.0001, "a_high": 0.2}
    assert span_text(row, "a") == "+0.123 (+0.000 to +0.200)"
    assert span_text(row | {"a_low": None}, "a") == "+0.123 (no interval)"
    assert span_text(row | {"a": pd.NA}, "a") == ""


def rgb(colour):
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def linear(colour):
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]


def contrast(one, other):
    light, dark = sorted((float(np.dot((0.2126, 0.7152, 0.0722), linear(c))) for c in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def oklab(colour, eyes):
    """Where a colour is seen, in a space in which equal distances look equal (Ottosson 2020)."""
    seen = np.clip(np.dot(EYES[eyes], linear(rgb(colour))), 0, 1)
    cones = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    lab = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return np.dot(lab, np.cbrt(np.dot(cones, seen)))


# In a browser


@pytest.mark.parametrize(("pixels", "most"), [(1280, 0.2), (390, None)])
def test_a_key_of_many_long_names_wraps_and_leaves_room_for_figures(browser, tmp_path, pixels, most):
    file, marks = tmp_path / "page.html", looks(made.long_names(30))
    file.write_text(page_of("t", "l", [Section("One"), Section("Two")], looks=marks), encoding="utf-8")
    tab = browser.new_page(viewport={"width": pixels, "height": 900})
    tab.goto(file.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= pixels
    assert most is None or tab.locator(".bar").bounding_box()["height"] <= most * 900
    last = tab.locator(".key button").last
    last.press("Enter")
    assert last.get_attribute("aria-pressed") == "true"
    tab.close()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def shown(browser, page, tmp_path_factory):
    """The page in a browser, with all that it complained of or asked for."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(page, encoding="utf-8")
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.complaints, tab.asked = [], []
    tab.on("console", lambda m: tab.complaints.append(m.text) if m.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(file.as_uri())
    tab.wait_for_selector("html[data-drawn]", timeout=120_000)
    return tab


def test_it_opens_without_an_error_and_asks_for_nothing(shown, drawn):
    assert shown.complaints == []
    assert [url for url in shown.asked if not url.startswith("data:")] == [shown.url]
    assert int(shown.evaluate("document.documentElement.dataset.drawn")) == sum(len(f.shown) for f in drawn)


def test_choosing_a_model_or_a_benchmark_changes_charts_and_rows(shown):
    def points():
        return shown.locator("[data-chart=pareto-0] svg .mark-symbol path").evaluate_all(
            "ps => ps.map(p => p.getAttribute('aria-label'))"
        )

    def rows():
        return shown.locator("#runs-table tbody tr:visible").count()

    before, number = points(), rows()
    shown.locator(".bar select[data-param=model]").select_option("qwen3-4b")
    shown.wait_for_function("document.querySelector('[data-told]').textContent === 'qwen3-4b on medcalc'")
    shown.wait_for_timeout(300)
    other = points()
    assert len(other) == len(before)
    assert other != before
    assert rows() == number == 37
    assert shown.locator("#runs-table tbody tr:visible td:first-child").first.text_content() == "qwen3-4b"
    shown.locator("#figure-pareto select[data-param=benchmark]").select_option("gsm8k")
    shown.wait_for_timeout(300)
    assert points() != other
    assert shown.locator("#figure-rates select[data-param=benchmark]").input_value() == "gsm8k"
    shown.locator(".key button[data-method=talr]").press("Enter")
    assert shown.locator(".key button[data-method=talr]").get_attribute("aria-pressed") == "true"
    shown.locator(".key button[data-method=talr]").press("Enter")
    assert shown.complaints == []


def test_the_figure_tells_how_each_point_stands_at_the_accepted_loss(results, shown):
    def told():
        shown.wait_for_timeout(300)
        texts = shown.locator("[data-chart=pareto-0] svg .mark-text.role-mark text").all_text_contents()
        rings = shown.locator("[data-chart=pareto-0] svg .layer_5_marks path").evaluate_all(
            "ps => ps.filter(p => p.getAttribute('opacity') === '1').length"
        )
        fills = shown.locator("[data-chart=pareto-0] svg .points_marks path").evaluate_all(
            "ps => ps.filter(p => p.getAttribute('fill') !== 'white').length"
        )
        return {text for text in texts if text}, rings, fills

    pair = Pair("qwen3-4b", "esci")
    for name, value in pair._asdict().items():
        shown.locator(f".bar select[data-param={name}]").select_option(value)
    standing = pair.rows(results.tables["standing"])
    shown.locator("#figure-pareto select[data-param=benchmark]").select_option("general score")
    for row in pair.rows(results.tables["recommendation"]).query("bound > 0").to_dict("records"):
        shown.locator("#figure-pareto select[data-param=bound]").select_option(points_text(row["bound"]))
        texts, rings, fills = told()
        words = standing[standing["bound"] == row["bound"]]["standing"].value_counts()
        assert rings == words.reindex(["offered", "best estimate", "equivalent"]).sum()
        assert fills == words.reindex(["offered", "equivalent", "safe"]).sum()
        assert f"{points_text(row['bound'])} below the base" in texts
        point = f"{row['method']} at {rate_text(row['learning_rate'])}"
        assert (f"take {point}" in texts) is (row["verdict"] in TAKE)
    reach = "[data-chart=pareto-0] svg .layer_2_marks line"
    assert shown.locator(reach).first.get_attribute("opacity") != "0"
    shown.locator("#figure-pareto select[data-param=intervals]").select_option("hidden")
    shown.wait_for_timeout(300)
    assert {line.get_attribute("opacity") for line in shown.locator(reach).all()} == {"0"}
    assert shown.complaints == []


def test_the_runs_are_sorted_by_a_press(shown):
    def column(number):
        return shown.locator(f"#runs-table tbody tr:visible td:nth-child({number})").all_text_contents()

    for name, number, as_number in (("domain score", 6, float), ("method", 3, str)):
        head = shown.locator("#runs-table th", has_text=name)
        head.locator("button").press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        assert column(number) == sorted(column(number), key=as_number)
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert column(number) == sorted(column(number), key=as_number, reverse=True)
    assert shown.locator("#runs-table th[aria-sort=none]").count() == shown.locator("#runs-table th").count() - 1


def test_a_number_leads_to_its_run_s_card(shown):
    link = shown.locator("#runs-table tbody tr:visible td:nth-child(6) a").first
    target = link.get_attribute("href")
    link.click()
    shown.wait_for_function("(id) => document.querySelector(id).open", arg=target)
    assert shown.locator(target).is_visible()


def test_figures_have_a_text_beside_them(shown):
    for figure in shown.locator("figure").all():
        assert figure.locator("[role=img]").get_attribute("aria-label")
        assert figure.locator("figcaption").text_content().strip()
        assert figure.locator("details").count() == 2
    assert shown.evaluate("document.documentElement.lang") == "en"


CONTRASTS = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    if (element.closest("svg, script, style, noscript, select") || !element.checkVisibility()) continue;
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own) continue;
    let under = element, paper = [255, 255, 255];
    while (under) {
      const c = parse(getComputedStyle(under).backgroundColor);
      if (c.length === 3 || c[3] === 1) { paper = c.slice(0, 3); break; }
      under = under.parentElement;
    }
    found.push([element.tagName + "." + element.className, parse(getComputedStyle(element).color).slice(0, 3), paper]);
  }
  return found;
}"""


def test_all_text_has_contrast(shown):
    found = shown.evaluate(CONTRASTS)
    assert len(found) > 500
    pairs = {(tuple(ink), tuple(paper)): what for what, ink, paper in found}
    assert {pair: what for pair, what in pairs.items() if contrast(*pair) < 4.5} == {}


def test_text_in_charts_has_contrast():
    inks = {figures.CONFIG["axis"][name] for name in ("labelColor", "titleColor")} | {figures.CONFIG["title"]["color"]}
    assert all(contrast(rgb(ink), (255, 255, 255)) >= 4.5 for ink in inks)


def test_on_a_phone_nothing_is_wider_than_the_screen(browser, shown):
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    tab.goto(shown.url.partition("#")[0])
    tab.wait_for_selector("html[data-drawn]", timeout=120_000)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    wide = tab.locator(".chart svg").evaluate_all("all => all.map(s => s.getBoundingClientRect().right)")
    assert max(wide) <= 390
    tab.close()


def test_it_prints(shown, tmp_path):
    shown.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 50_000


def test_specs_are_json_that_a_browser_reads(page):
    for name in ("data", "charts"):
        text = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)[1]
        assert json.loads(text)
