"""Tests that every command, space file and Python block in the README and the documentation does what the text says.

`FORMS` defines for every command how it is tried: unchanged, shortened, up to the point where the long work would
begin, or not at all, with the reason. It is a fault if a command matches no form, or a form matches no command.
"""

import argparse
import importlib.util
import json
import re
import runpy
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
import yaml

from raysearch.checks import check
from raysearch.checks.measure import NotMeasured
from raysearch.commands import cli
from raysearch.execution import standalone
from raysearch.execution.places import Where
from raysearch.execution.preflight import preflight
from raysearch.history.history import read_history
from raysearch.history.run_dir import RunDir
from raysearch.observers.dashboard import DashboardServer
from raysearch.runs import confirm, driver
from raysearch.runs.outcome import SearchResult, search_result
from raysearch.search.run import Run
from raysearch.space.parsing import load_space
from raysearch.space.settings import KEYS
from raysearch.space.spec import SearchSpec
from tests.docs import world
from tests.docs.blocks import PAGES, README, README_ZH, REPOSITORY, Block, Command, blocks, commands, inline_commands
from trainables.openseg.flags import FLAGS

RUN = re.compile(r"runs/(\w+)-…")
"""How the pages write the folder of a run."""


@dataclass(frozen=True)
class Form:
    """The way in which a command is tried."""

    fits: str
    """Regular expression that the whole command matches."""
    how: str
    """`run`; `check`, up to the point where a search or a training would begin; `parse`; or `not ours`."""
    why: str = ""
    """Reason why it is not run unchanged."""
    instead: tuple[tuple[str, str], ...] = ()
    """Pairs of a regular expression and its replacement."""
    extra: tuple[str, ...] = ()
    """Words that are added."""


_SMALL = """
    resources={cpu: 1, concurrent: 1}
    search={algorithm: random, trials: 3}
    scheduler={name: asha, grace_iters: 2, reduction_factor: 2, audit_fraction: 0}
    config.data.augmentation.crop_size=[32, 32]
    config.model.backbone=test_efficientnet
    config.model.head_channels=8
    config.contrast.proj_dim=8
    config.contrast.warmup_iters=1
    config.train.max_iters=4
    config.train.report_iters=2
    config.train.batch_size=2
    config.train.shared_iters=1
    config.train.device=cpu
"""
SMALL = tuple(word for line in _SMALL.split("\n") if line.strip() for word in ("--set", line.strip()))
DRAWN = ("--set", "config.data.drawn.num_train=4", "--set", "config.data.drawn.num_val=2")
OTHERS = "the searches of the README are run; what another space file adds shows before a search begins"
LONG = "takes minutes to hours"

FORMS = (
    Form(r"python3? -m venv .*|.*pip install .*|git clone .*|cd .*|\. \.venv/bin/activate", "not ours", "sets up"),
    Form(r".*python -m pytest.*|make .*", "not ours", "is what runs this"),
    Form(r"ssh .*|ray start .*", "not ours", "needs other machines"),
    Form(r"tensorboard .*", "not ours", "is a program of others"),
    Form(r"python -m benchmarks\..*", "parse", LONG),
    Form(r"python -m raysearch (run|resume) .*--address .*", "check", "needs other machines"),
    Form(r"python -m raysearch run search_spaces/demo.yaml", "run", LONG, extra=(*SMALL, *DRAWN)),
    Form(r"python -m raysearch run potatoes.yaml", "run", "is a small form of the README's space file"),
    Form(r"python -m raysearch run .*--set config.data.dir=PATH.*", "check", OTHERS, (("=PATH", "=camvid"),), SMALL),
    Form(r"python -m raysearch run .*", "check", OTHERS),
    Form(r"python -m raysearch check camvid.yaml", "run", LONG, extra=SMALL),
    Form(r"python -m raysearch check .*", "run"),
    Form(r"python -m raysearch resume .* --add-trials \d+", "run", LONG, ((r"--add-trials \d+", "--add-trials 1"),)),
    Form(r"python -m raysearch resume .*", "run", "the run has finished, which it says"),
    Form(
        r"python -m raysearch confirm .*--address .*",
        "check",
        "needs other machines",
        ((r"/shared/", ""), (r"toes ", "toes-… ")),
    ),
    Form(r"python -m raysearch confirm .*", "run", LONG, ((r"--top \d+ --seeds \d+", "--top 1 --seeds 2"),)),
    Form(r"prometheus .*", "not ours", "tests/raysearch/observers/test_ray_dashboard.py has a real one"),
    Form(r"python -m raysearch grafana", "run"),
    Form(r"python -m raysearch dashboard .*", "run", "serves until it is interrupted: here it is, at once"),
    Form(r"python -m raysearch train H_48_D_4.json .*", "check", LONG),
    Form(r"python -m raysearch init potatoes", "run", "there is one", ((r"$", " --out begun.yaml"),)),
    Form(
        r"python -m raysearch (init|repair|trust|report|export|train|evaluate|predict|score|schema|spaces|convert).*",
        "run",
    ),
    Form(
        r"python -m raysearch data (convert|split) \w+ potatoes.*",
        "run",
        "every page has one dataset of that name, and the two splits are alternatives",
        ((r"(masks|grey|all) potatoes", r"\1 potatoes-of-\1"), (r"of-all (--train .*)", r"of-all-by-number \1")),
    ),
    Form(r"python -m raysearch data .*", "run"),
)


def form_of(command: Command) -> Form | None:
    text = " ".join(command.words)
    return next((form for form in FORMS if re.fullmatch(form.fits, text)), None)


def all_commands() -> list[Command]:
    return [c for page in (README, *PAGES) for b in blocks(page) if b.language == "sh" for c in commands(b)]


def test_every_command_is_known_and_every_form_is_used() -> None:
    forms = {command: form_of(command) for command in all_commands()}
    unknown = [f"{command.place}: {command.text}" for command, form in forms.items() if form is None]
    assert not unknown, "say in FORMS how these are tried:\n" + "\n".join(unknown)
    assert [form.fits for form in FORMS if form not in forms.values()] == []
    assert all(form.why for form in FORMS if form.how in ("check", "parse", "not ours") or form.instead or form.extra)


def test_no_command_hides_in_an_indented_block() -> None:
    hidden = [
        f"{page.relative_to(REPOSITORY)}: {line.strip()}"
        for page in (README, *PAGES)
        for line in page.read_text(encoding="utf-8").splitlines()
        if re.match(r" {4,}(python|raysearch|pip) ", line)
    ]
    assert not hidden, "write these in a fenced block"


@pytest.mark.slow
def test_all_of_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], local_ray: None
) -> None:
    place = Folder(tmp_path, monkeypatch, capsys)
    place.prepare()
    for page in (README, *PAGES):
        for block in blocks(page):
            place.try_block(block)
    assert not place.faults, "\n\n".join(place.faults)
    every_column_is_described(place.run)


def every_column_is_described(run: Path) -> None:
    """Check that the page of tables has a section for every table of a run, with all of its columns."""
    page = (REPOSITORY / "docs" / "reference" / "tables.md").read_text(encoding="utf-8")
    sections = {section.split("`")[1]: section for section in page.split("\n## ")[1:]}
    searched = {parameter.path for parameter in load_space(run / "space.yaml").parameters}
    for table in run.rglob("*.parquet"):
        if "confirm" in table.relative_to(run).parts:
            continue  # tables of `train`, with the columns of results.parquet
        name = str(table.relative_to(run))
        assert name in sections, f"{name} is not on the page"
        described = {
            word for row in re.findall(r"^\|(.+?)\|", sections[name], re.M) for word in re.findall(r"`([^`]+)`", row)
        }
        columns = {re.sub("^took_effect/.+", "took_effect/PATH", c) for c in pq.read_schema(table).names} - searched
        assert columns <= described, f"{name}: {sorted(columns - described)}"


@dataclass
class Folder:
    """The home and working directory of a reader who tries one page after another."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    tried: set[str] = field(default_factory=set)
    """Commands that were tried; each is tried where it occurs first."""
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__page__"})
    """Names that the Python blocks have defined so far."""
    faults: list[str] = field(default_factory=list)

    @property
    def run(self) -> Path:
        """Folder of the run that the pages refer to."""
        return self.root / "run"

    def prepare(self) -> None:
        """Create the datasets, a small version of the README's space file, and the results of its search."""
        self.monkeypatch.setattr(signal, "signal", lambda *_: None)
        self.monkeypatch.setattr(confirm, "Where", lambda executor, address: Where("local"))
        self.monkeypatch.setattr(check, "measure", _measure_nothing)
        self.monkeypatch.setenv("TRAINABLES_CACHE_DIR", str(self.root / "cache"))
        self.monkeypatch.setenv("COLUMNS", "200")
        self.monkeypatch.setenv("HOME", str(self.root / "home"))
        self.monkeypatch.setattr(DashboardServer, "serve_forever", lambda server: None)
        world.build(self.root / "home")
        (self.root / "home" / "search_spaces").symlink_to(REPOSITORY / "search_spaces")
        self.monkeypatch.chdir(self.root / "home")
        given = next(block for block in blocks(README) if block.language == "yaml")
        Path("readme.yaml").write_text(given.text, encoding="utf-8")
        small = load_space(Path("readme.yaml"), SMALL[1::2])
        Path("potatoes.yaml").write_text(small.to_yaml(), encoding="utf-8")
        self._call("the run that the pages speak of", ["run", "potatoes.yaml", "--out", str(self.run)])
        self.tried.add("python -m raysearch run potatoes.yaml")
        self._call("its best config", ["export", str(self.run), "--out", "best.json"])
        assert not self.faults, "\n\n".join(self.faults)

    def try_block(self, block: Block) -> None:
        text = self._with_runs(block.text)
        if block.title is not None:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
        match block.language:
            case "sh":
                for command in commands(block):
                    if command.text not in self.tried:
                        self.tried.add(command.text)
                        self._try_command(command)
            case "python" if block.title is None:
                with self._without_work():
                    self._attempt(block.place, lambda: exec(compile(text, block.place, "exec"), self.names))
            case "json":
                self._attempt(block.place, lambda: json.loads(text))
            case "yaml" if block.title is None or set(yaml.safe_load(text)) <= set(KEYS):
                self._attempt(block.place, lambda: self._load(yaml.safe_load(text)))

    def _with_runs(self, text: str) -> str:
        """Return text in which the run folders of a page are replaced by existing ones."""

        def folder(name: re.Match[str]) -> str:
            return str(max(Path("runs").glob(f"{name[1]}-*"), default=self.run))

        return RUN.sub(folder, text)

    def _load(self, document: dict[str, Any]) -> SearchSpec:
        """Return the search of a space file; a fragment is completed by the README's file."""
        whole = yaml.safe_load(Path("readme.yaml").read_text(encoding="utf-8"))
        if "space" not in document or "objective" not in document:
            document = _merged(whole, document)
        Path("piece.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        return load_space(Path("piece.yaml"))

    def _try_command(self, command: Command) -> None:
        form = form_of(command)
        if form is None or form.how == "not ours":
            return
        words = command.words[3:] if command.words[0] == "python" else command.words[1:]
        text = "\0".join(words).replace(" ", "\1").replace("\0", " ")
        for pattern, other in form.instead:
            text = re.sub(pattern, other, text)
        words = [self._with_runs(word.replace("\1", " ")) for word in text.split(" ")]
        if form.how == "parse":
            self._attempt(command.place, lambda: _parse_benchmark(command.words[2], command.words[3:]))
        else:
            self._call(f"{command.place}: {command.text}", [*words, *form.extra], works=form.how != "check")

    def _call(self, place: str, words: Sequence[str], works: bool = True) -> None:
        with self.monkeypatch.context() as patch, nullcontext() if works else self._without_work():
            patch.setattr(sys, "argv", ["raysearch", *words])
            self._attempt(place, cli.main)

    @contextmanager
    def _without_work(self) -> Iterator[None]:
        """Replace searches and trainings by functions that stop where the work would begin."""
        with self.monkeypatch.context() as patch:
            patch.setattr(driver, "run", self._only_check)
            patch.setattr(driver, "resume", lambda *_, **__: self._found())
            patch.setattr(confirm, "confirm", lambda *_, **__: None)
            patch.setattr(standalone, "train", lambda *_, **__: 0.5)
            yield

    def _only_check(self, spec: SearchSpec, *_: Any, **__: Any) -> SearchResult:
        """Check a search up to its start, then return the results of another one."""
        preflight(spec)
        return self._found()

    def _found(self) -> SearchResult:
        run_dir = RunDir.open(self.run)
        return search_result(Run(run_dir, load_space(run_dir.space), read_history(run_dir.journal)), None)

    def _attempt(self, place: str, action: Callable[[], Any]) -> None:
        """Run an action and record a failure: an exit code other than 0, or an exception."""
        self.capsys.readouterr()
        try:
            action()
        except SystemExit as end:
            if end.code not in (0, None):
                self.faults.append(f"{place}\n{''.join(self.capsys.readouterr())}")
        except Exception as error:
            self.faults.append(f"{place}\n{type(error).__name__}: {error}")


def _merged(whole: dict[str, Any], piece: dict[str, Any]) -> dict[str, Any]:
    """Return a document updated by a fragment of one; searched values are replaced as a whole."""
    merged = {
        key: _merged(whole[key], value) if isinstance(value, dict) and isinstance(whole.get(key), dict) else value
        for key, value in piece.items()
    }
    return {**whole, **merged}


def _measure_nothing(spec: SearchSpec, configs: Sequence[Any], **_: Any) -> list[NotMeasured]:
    """Return no measurements: measuring has tests of its own and would start two processes for every `check`."""
    return [NotMeasured("not in this test", is_fault=False) for _ in configs]


def _parse_benchmark(module: str, words: Sequence[str]) -> None:
    """Check that a benchmark script exists and that it accepts the words, without running it."""
    if not words:
        assert importlib.util.find_spec(module), f"there is no {module}"
        return

    class Parsed(Exception):
        """The script has accepted its words."""

    parse = argparse.ArgumentParser.parse_args

    def parse_and_leave(parser: argparse.ArgumentParser, *_: Any) -> None:
        parse(parser, list(words))
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_leave)
        with pytest.raises(Parsed):
            runpy.run_module(module, run_name="__main__")


def options_by_command() -> dict[str, set[str]]:
    """Return the options of every command, by the words of the command."""
    group: Any = typer.main.get_command(cli.app)
    found = {}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", {})
        for words, one in [(name, command), *((f"{name} {other}", one) for other, one in inner.items())]:
            found[words] = {
                option for parameter in one.params for option in (*parameter.opts, *parameter.secondary_opts)
            }
    return found


OPTIONS = options_by_command()


@pytest.mark.parametrize("page", [README, README_ZH, *PAGES], ids=lambda page: page.name)
def test_commands_and_options_in_sentences_exist(page: Path) -> None:
    """Unknown options are added to a command's pairs, so running a command would not reveal a misspelt option."""
    in_blocks = [c for b in blocks(page) if b.language == "sh" for c in commands(b)]
    for command in [*inline_commands(page), *in_blocks]:
        words = command.words
        if words[:3] == ["python", "-m", "raysearch"]:
            words = words[3:]
        elif words[:1] == ["raysearch"]:
            words = words[1:]
        else:
            continue
        if not words or words[0].startswith("-"):
            continue
        name = next((name for name in (" ".join(words[:2]), words[0]) if name in OPTIONS), words[0])
        assert name in OPTIONS, f"{command.place}: there is no command {name}"
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= OPTIONS[name] | set(FLAGS), f"{command.place}: {sorted(given - OPTIONS[name])} of {name}"


def test_both_readmes_have_the_same_blocks() -> None:
    """The blocks may differ in comments, which are in the language of the README."""

    def without_comments(page: Path) -> list[tuple[str, str]]:
        return [(block.language, re.sub(r"\s+#.*", "", block.text)) for block in blocks(page)]

    assert without_comments(README_ZH) == without_comments(README)
