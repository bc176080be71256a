import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from raysearch.history.events import Begun, Started
from raysearch.history.history import History, read_history
from raysearch.history.journal import Journal
from raysearch.history.records import lines_of
from raysearch.history.run_dir import RunDir
from raysearch.report import write_report
from raysearch.report.bundle import TRACES
from raysearch.report.page import PANELS, render_page, search_view
from raysearch.report.parts import Code, Fact, Facts, Legend, Picture, Pictures, Plot, Table, Text, new_figure
from raysearch.report.view import SearchView
from raysearch.search.run import Run
from raysearch.search.search import Search
from raysearch.space.spec import SearchSpec
from tests.raysearch.ours import OURS
from tests.raysearch.report.histories import history_of, rich_view, trial
from tests.raysearch.toy import run_search, run_trial, toy_spec

TITLES = [
    "Winner",
    "History",
    "Learning curves",
    "Rung audit",
    "Parallel coordinates",
    "Importance",
    "Slices",
    "Contour",
    "Timeline",
    "Failures",
    "Cost",
    "Config",
    "Reproduce",
]
EVIL = "<script>alert(1)</script>&<!--</pre>"


class _Page(HTMLParser):
    """The structure of a page: headings, elements with their attributes, and the data of the figures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.figures = ""
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "h2":
            self.headings.append(data)
        if inside == "script" and self.elements[-1][1].get("id") == "figures":
            self.figures += data
        if inside not in ("script", "style"):
            self.text += data


@pytest.fixture
def run(tmp_path: Path) -> tuple[SearchSpec, RunDir]:
    """Return a search in which enough trials have both values of the contour."""
    spec = toy_spec(tmp_path, search={"algorithm": "tpe", "trials": 24, "seed": 4})
    run_dir = RunDir.create("toy", tmp_path / "run")
    run_dir.space.write_text(spec.to_yaml(), encoding="utf-8")
    return spec, run_dir


def test_the_summary_tells_the_iterations_that_were_shared() -> None:
    curve = [0.1, 0.2, 0.3]
    shared = [trial({"optim.lr": lr}, curve, metrics={"iterations_shared": 0}) for lr in (0.01, 0.02, 0.03)]
    for number in (1, 2):
        first = shared[number].reports[1]
        shared[number].reports[1] = replace(first, metrics={"iterations_shared": 1})
    html = render_page(SearchView(history_of(*shared), "miou"), "shared")
    assert "2 of 9 iterations shared between trials" in _Page(html).text
    html = render_page(SearchView(history_of(shared[0]), "miou"), "alone")
    assert "shared between trials" not in _Page(html).text


def test_a_finished_search_has_every_panel_in_order(run: tuple[SearchSpec, RunDir]) -> None:
    spec, run_dir = run
    run_search(spec, run_dir.journal)
    path = write_report(Run(run_dir, spec, read_history(run_dir.journal)))
    assert path == run_dir.root / "report.html"
    html = path.read_text(encoding="utf-8")
    page = _Page(html)
    assert page.headings == TITLES == [title for title, _ in PANELS if title not in ("Per-class IoU", "Predictions")]
    assert all(f"<h2>{title}</h2>" in html for title in TITLES)
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert links == [f"#{attributes['id']}" for tag, attributes in page.elements if tag == "section"]
    drawn = [attributes["id"] for _, attributes in page.elements if attributes.get("class") == "plot"]
    assert list(json.loads(page.figures)) == drawn
    assert len(drawn) == 6 + 4 + 1  # one slice per value, and the contour
    kinds = {trace["type"] for figure in json.loads(page.figures).values() for trace in figure["data"]}
    assert kinds <= TRACES
    assert path.stat().st_size < 8_000_000
    assert sorted(p.name for p in run_dir.root.iterdir()) == [
        "importance.csv",
        "importance.parquet",
        "report.html",
        "space.yaml",
        "study.journal",
        "study.journal.end",
        "trials",
    ]


def test_the_page_asks_the_network_for_nothing(run: tuple[SearchSpec, RunDir]) -> None:
    spec, run_dir = run
    run_search(spec, run_dir.journal)
    html = write_report(Run(run_dir, spec, read_history(run_dir.journal))).read_text(encoding="utf-8")
    page = _Page(html)
    assert not [(tag, a) for tag, a in page.elements if {"src", "srcset", "data", "action"} & set(a)]
    assert all(str(a["href"]).startswith("#") for _, a in page.elements if "href" in a)
    assert not [tag for tag, _ in page.elements if tag in ("link", "iframe", "object", "embed", "base", "img")]
    policies = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    ]
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "http" not in page.figures


def test_the_same_journal_gives_the_same_page(run: tuple[SearchSpec, RunDir]) -> None:
    spec, run_dir = run
    run_search(spec, run_dir.journal)
    pages = [write_report(Run(run_dir, spec, read_history(run_dir.journal))).read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_search_that_is_still_running_has_a_page(run: tuple[SearchSpec, RunDir]) -> None:
    spec, run_dir = run
    with Journal(run_dir.journal) as journal:
        search = Search(spec, journal)
        first, second = search.propose(), search.propose()
        assert first is not None
        assert second is not None
        page = _Page(write_report(Run(run_dir, spec, read_history(run_dir.journal))).read_text(encoding="utf-8"))
        assert page.headings == TITLES
        assert page.figures == "{}"
        assert "2 of 24 trials · 2 running" in page.text
        run_trial(search, first)
        page = _Page(write_report(Run(run_dir, spec, read_history(run_dir.journal))).read_text(encoding="utf-8"))
        assert "2 of 24 trials · 1 completed · 1 running" in page.text
        assert "best score" in page.text


def test_an_empty_journal_has_a_page(run: tuple[SearchSpec, RunDir]) -> None:
    spec, run_dir = run
    run_dir.journal.touch()
    page = _Page(write_report(Run(run_dir, spec, read_history(run_dir.journal))).read_text(encoding="utf-8"))
    assert page.headings == TITLES
    assert "function" not in page.figures


def test_rungs_come_from_the_space_file(run: tuple[SearchSpec, RunDir], tmp_path: Path) -> None:
    spec, run_dir = run
    history = run_search(spec, run_dir.journal)
    view = search_view(Run(run_dir, spec, history))
    assert (view.rungs, view.max_iters, view.metric) == ((2, 4), 8, "score")
    assert view.best is not None
    winner = history.best_trial()
    assert winner is not None
    best = winner.best("max")
    assert best is not None
    assert view.best["raysearch"]["value"] == best.value
    unstopped = toy_spec(tmp_path, scheduler={"name": "none", "max_iters": 8})
    assert search_view(Run(run_dir, unstopped, history)).rungs == ()


def test_evaluate_is_offered_for_trainables_that_can_score(run: tuple[SearchSpec, RunDir], tmp_path: Path) -> None:
    toy, run_dir = run
    assert search_view(Run(run_dir, toy, History())).commands == (f"python -m raysearch train {run_dir.best_config}",)
    known = replace(toy, trainable=OURS, config={})
    spaced = RunDir(tmp_path / "a run")
    train, evaluate = search_view(Run(spaced, known, History())).commands
    assert train == f"python -m raysearch train '{spaced.best_config}'"
    assert evaluate.endswith(f"--checkpoint '{spaced.best_checkpoint}'")


def test_text_of_every_origin_is_escaped() -> None:
    values = {EVIL: 1.0, "kind": EVIL}
    history = history_of(
        trial(values, [0.1, 0.2], is_default=True, metrics={EVIL: 1.0}, space={}),
        trial(values, [], "failed", error=EVIL, space={}),
        *(trial({EVIL: float(n), "kind": "b"}, [0.01 * n], space={}) for n in range(12)),
    )
    best = {"name": EVIL, "raysearch": {"versions": {EVIL: EVIL}}}
    html = render_page(SearchView(history, EVIL, best=best, commands=(EVIL,)), EVIL)
    page = _Page(html)
    assert page.headings == TITLES
    assert [tag for tag, _ in page.elements].count("script") == 3
    assert "alert(1)" in page.text
    assert EVIL in page.text
    assert "<script>alert" not in html
    figures = json.loads(page.figures)
    for text in re.findall(r'"(?:text|ticktext|title|name|y)":[^{}]*alert[^{}]*', json.dumps(figures)):
        assert "<script" not in text  # plotly reads tags in its texts
    assert "alert" in page.figures
    assert "<" not in page.figures


def test_parts_of_every_kind_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = new_figure(100)
    figure.add_scatter(x=[1], y=[2], name=EVIL)
    parts = [
        Text(EVIL),
        Facts((Fact(EVIL, EVIL, EVIL),)),
        Table((EVIL,), ((EVIL,),), summary=EVIL),
        Code(EVIL, summary=EVIL),
        Plot(figure, f'"{EVIL}'),
        Legend(((EVIL, EVIL),)),
        Pictures(EVIL, (Picture(EVIL, EVIL),)),
    ]
    monkeypatch.setattr("raysearch.report.page.PANELS", ((EVIL, lambda view: parts),))
    page = _Page(render_page(SearchView(history_of(), "miou"), "toy"))
    assert page.headings == [EVIL]
    assert page.text.count(EVIL) == 14
    assert [a["aria-label"] for _, a in page.elements if a.get("role") == "img"] == [f'"{EVIL}']
    assert json.loads(page.figures)["figure-0"]["data"][0]["name"] == EVIL


def test_numbers_are_right_aligned() -> None:
    html = render_page(SearchView(history_of(trial({"views": 7}, [0.5])), "miou"), "toy")
    assert '<tr><td>views</td><td class="number">7</td><td>0 to 10</td></tr>' in html


def test_a_torn_last_line_is_no_fault(run: tuple[SearchSpec, RunDir]) -> None:
    spec, run_dir = run
    with Journal(run_dir.journal) as journal:
        journal.append([*lines_of(Begun("toy", "max", 24)), *lines_of(Started({}, {}, {"x": 0.5}, is_default=True))])
    with run_dir.journal.open("a") as file:
        file.write('{"op_code":7,"trial')
    page = _Page(write_report(Run(run_dir, spec, read_history(run_dir.journal))).read_text(encoding="utf-8"))
    assert "1 of 24 trials" in page.text


def test_a_page_of_2000_trials_is_small() -> None:
    view: SearchView = rich_view(2000)
    for one in view.history.trials:  # 20 reports instead of one
        for iteration, report in list(one.reports.items()):
            for k in range(1, 20):
                between = replace(report, iteration=iteration - k, value=report.value - 0.001 * k, metrics={})
                one.reports[between.iteration] = between
    page = render_page(view, "large")
    assert len(page.encode()) < 8_000_000
    for said in ("One report in 3 is shown", "The best 200 of 2000", "The best 200 of 1883"):
        assert said in page
