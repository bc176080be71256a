"""Interfaces between a search and a trainable.

A trainable is a subclass of `ray.tune.Trainable`, or a function of one config that calls `ray.tune.report`. It receives
the nested config of its trial and reports a dictionary of metrics. Everything below is optional. A trainable's
declarations are checked before anything starts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

from pydantic import BaseModel

from trainables.errors import Fault

CONFIG_USED = "config_used"
"""Key of a report that holds the nested config that the trainable really trains with. The search compares it with the
config that it asked for.
"""

ITERATION = "iteration"
"""Key of a report that holds the number of trained iterations. Without it, each report counts as one iteration."""

DRAWS = "_draws"
"""Suffix of a metric's name. The key with this suffix holds bootstrap draws of the metric: a list of numbers, each the
score on a resampled set of examples. All trials must use the same samples. Rungs use the draws to estimate the noise of
a difference between two trials.
"""
ITERATIONS_SHARED = "iterations_shared"
"""Key of a report that holds the number of training iterations since the last report that another trial had already
trained.
"""

TOOK_EFFECT = "took_effect"
"""Prefix of a key of a report: `took_effect/PATH` holds the share of iterations since the last report in which the
config value at the dotted path had an effect. For a limit, a share of 0 says that training without it would have
been the same.
"""


@runtime_checkable
class DeclaresConfig(Protocol):
    """A trainable that has a pydantic model of its config. Every path of the search space is checked against it.

    A minimal implementation:

        class Config(BaseModel):
            rate: float = Field(default=0.1, gt=0)
    """

    Config: type[BaseModel]


@runtime_checkable
class DeclaresMetrics(Protocol):
    """A trainable that names the metrics it reports. Every objective must be one of them, or `peak_memory_bytes`.

    A minimal implementation:

        METRICS = frozenset({"loss", "accuracy"})
    """

    METRICS: frozenset[str]


@runtime_checkable
class DeclaresDraws(Protocol):
    """A trainable that names the metrics whose draws it reports (`DRAWS`). For any other, `slack: auto` is 0.

    A minimal implementation, for reports with the keys `accuracy` and `accuracy_draws`:

        DRAWN_METRICS = frozenset({"accuracy"})
    """

    DRAWN_METRICS: frozenset[str]


@runtime_checkable
class HasPreflight(Protocol):
    """A trainable that can check a config's data before any trial starts.

    A minimal implementation:

        @classmethod
        def preflight(cls, config):
            if not Path(config.folder).is_dir():
                what = f"{config.folder} is not a folder"
                raise InputError([Fault("folder", what, "give the folder of the examples")])
            return []
    """

    @classmethod
    def preflight(cls, config: Any) -> list[str]:
        """Return notices about the data, one line each.

        Raises:
            InputError: every fault that would break a trial with this config.
        """
        ...


@runtime_checkable
class ChecksCombinations(Protocol):
    """A trainable with values that are wrong only in combination with others.

    A minimal implementation:

        COMBINED = frozenset({"width", "num_heads"})

        @classmethod
        def check_combination(cls, config):
            if config.width % config.num_heads:
                what = f"{config.num_heads} does not divide width = {config.width}"
                raise InputError([Fault("num_heads", what, "search multiples")])
    """

    COMBINED: frozenset[str]
    """Dotted paths of such values. All their combinations in the search space are checked."""

    @classmethod
    def check_combination(cls, config: Any) -> None:
        """Check a config quickly.

        Raises:
            InputError: its values do not go together.
        """
        ...


class TextTable(NamedTuple):
    """A table whose cells are text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_text_columns: int
    """Number of leading columns whose text may be wrapped. The others hold numbers, which are not broken."""


class DataDescription(NamedTuple):
    """Description of a dataset."""

    examples: str
    """Name of the examples that the trainable learns from, such as `images`."""
    summary: str
    """Numbers of examples in a few words."""
    tables: tuple[TextTable, ...] = ()


@runtime_checkable
class DescribesData(Protocol):
    """A trainable that can describe its data. `check` prints the tables, and `run` the summary.

    A minimal implementation:

        @classmethod
        def describe_data(cls, config):
            train, val = read_examples(config, "train"), read_examples(config, "val")
            return DataDescription("letters", f"{len(train)} train, {len(val)} val")
    """

    @classmethod
    def describe_data(cls, config: Any) -> DataDescription:
        """Return a description of the data of a config; called after a preflight that found no fault."""
        ...


class TrialCost(NamedTuple):
    """Time that a training takes on the current machine."""

    seconds_per_iteration: float
    seconds_per_report: float
    """Time for scoring and for writing the checkpoint."""
    iterations_per_report: int


@runtime_checkable
class ChoosesOnMachine(Protocol):
    """A trainable that fills in values of a config that are left to a measurement on the machine.

    A search, a check and a training ask for them once, at the start. They then use the returned config, and a search
    writes it into its run folder, so that all of its trials use the same values.

    A minimal implementation, for a config with a field `precision`:

        @classmethod
        def on_this_machine(cls, config):
            return config if config.precision != "auto" else config.model_copy(update={"precision": measured()})
    """

    @classmethod
    def on_this_machine(cls, config: Any) -> Any:
        """Return the config with all of these values filled in; the config itself if there are none."""
        ...


@runtime_checkable
class MeasuresCost(Protocol):
    """A trainable that can measure its cost before its first report.

    A minimal implementation:

        @classmethod
        def measure_cost(cls, config):
            trainer, start = Trainer(config), time.perf_counter()
            trainer.train(10)
            return TrialCost((time.perf_counter() - start) / 10, 0.0, config.report_every)
    """

    @classmethod
    def measure_cost(cls, config: Any) -> TrialCost:
        """Train a config for a few iterations, discard the result, and return the measured cost."""
        ...


@runtime_checkable
class SharesBeginning(Protocol):
    """A trainable whose first iterations may be shared with other trials.

    A minimal implementation, for first iterations that are the same in all trials:

        def share_beginning(self, folder, owner):
            with locked(folder / "lock"):
                if not (folder / "state.json").exists():
                    self.train_to(100)
                    self.save_checkpoint(folder)
            self.load_checkpoint(folder)
    """

    def share_beginning(self, folder: Path, owner: str) -> None:
        """Reuse or train the shared iterations; called once, before the first step of a trial without a checkpoint.

        It is not called if the search knows that no other trial can begin in the same way.

        Args:
            folder: A folder that all trials of the run share. It is deleted once the search has finished.
            owner: The trial's name in the run.
        """
        ...


Progress = Callable[[int, int], None]
"""Function that receives the finished amount of work and the whole amount."""


@runtime_checkable
class TellsIterations(Protocol):
    """A trainable that can report its iterations between two reports. `train` moves its progress bar by them.

    A minimal implementation:

        def tell_iterations(self, tell):
            self.tell = tell  # and in the loop of `step`: self.tell(self.iterations)
    """

    def tell_iterations(self, tell: Callable[[int], None]) -> None:
        """Keep `tell`, and call it after every iteration from now on with the number of iterations trained so far."""
        ...


@runtime_checkable
class Evaluates(Protocol):
    """A trainable that can score a checkpoint. The command `evaluate` and a confirmation on test examples need it.

    A minimal implementation:

        EVALUATED = frozenset({"accuracy"})

        @classmethod
        def evaluate(cls, config, checkpoint, split, progress):
            model = pickle.loads((checkpoint / "model.pkl").read_bytes())
            return {"accuracy": model.score(*read_examples(config, split))}
    """

    EVALUATED: frozenset[str]
    """Names of the single numbers that `evaluate` returns. They mean the same as in a report."""

    @classmethod
    def evaluate(cls, config: Any, checkpoint: Path, split: str, progress: Progress) -> Mapping[str, Any]:
        """Score a checkpoint on all examples of a split.

        Args:
            config: The config that the checkpoint was trained with.
            checkpoint: Folder of the checkpoint.
            split: Name of the split, such as `val` or `test`.
            progress: Function that may be called with the number of examples scored so far and the number of all.

        Returns:
            A number for every name in `EVALUATED`. Lists of numbers may be added, as in a report.

        Raises:
            InputError: the folder holds no checkpoint of this config, or the split cannot be read.
        """
        ...


@runtime_checkable
class ChecksSplit(Protocol):
    """A trainable that can check a split before anything is scored on it.

    A minimal implementation:

        @classmethod
        def check_split(cls, config, split):
            if not Path(config.folder, split).is_dir():
                raise InputError([Fault(config.folder, f"has no {split}/", "make one, or score on val")])
            return []
    """

    @classmethod
    def check_split(cls, config: Any, split: str) -> list[str]:
        """Return notices about a split, one line each.

        Raises:
            InputError: every fault that would keep the split from being scored.
        """
        ...


@runtime_checkable
class NamesResumeFiles(Protocol):
    """A trainable that writes files into its checkpoints that only a resumed training needs.

    The best checkpoint, which is there to be used, is copied without them.

    A minimal implementation:

        RESUME_FILES = frozenset({"optimizer.pt"})
    """

    RESUME_FILES: frozenset[str]
    """Names of the files that only a resumed training needs."""


class Trained(NamedTuple):
    """A trial of a search, with the checkpoint of its best report."""

    trial: int
    """Number of the trial."""
    config: Any
    checkpoint: Path
    """Folder of the checkpoint."""


class PredictedPicture(NamedTuple):
    """One picture of a panel."""

    file: str
    """Name of a PNG or JPEG file in the given folder."""
    caption: str
    is_sharp: bool = False
    """True if its pixels keep sharp edges when it is enlarged."""


class PredictedRow(NamedTuple):
    """Pictures of one example, side by side."""

    title: str
    pictures: tuple[PredictedPicture, ...]


class PredictionPanel(NamedTuple):
    """The content of the report's panel of predictions, and the scores behind it."""

    text: str
    """A few sentences above the pictures."""
    rows: tuple[PredictedRow, ...]
    legend: tuple[tuple[str, str], ...] = ()
    """Name and colour (#rrggbb) of everything that is shown in a colour of its own."""
    scores: Mapping[str, Sequence[Any]] = {}
    """Columns of a table of all scored examples."""


@runtime_checkable
class PredictsPictures(Protocol):
    """A trainable that can show what its trials predict. The report shows the pictures in a panel.

    A minimal implementation, for a classifier of images:

        @classmethod
        def predict_pictures(cls, winner, default, folder):
            model, images = load(winner.checkpoint), read_images(winner.config, "val")[:6]
            rows = []
            for number, image in enumerate(images):
                image.save(folder / f"{number}.png")
                picture = PredictedPicture(f"{number}.png", f"predicted {model(image)}")
                rows.append(PredictedRow(f"image {number}", (picture,)))
            return PredictionPanel(f"What trial {winner.trial} makes of six images.", tuple(rows))
    """

    @classmethod
    def predict_pictures(cls, winner: Trained, default: Trained | None, folder: Path) -> PredictionPanel:
        """Write pictures of predictions, and return what the panel says.

        Args:
            winner: The trial with the best config.
            default: The trial of the config as the space file gives it; None if that is the winner or has no
                checkpoint.
            folder: An empty folder for the files.

        Raises:
            InputError: the examples cannot be read. The panel then says why it is empty.
        """
        ...


class OnnxFile(NamedTuple):
    """Properties of a written ONNX file."""

    difference: float
    """Largest absolute difference between its scores and the network's."""
    fixed: dict[str, int]
    """Dimensions for which the file accepts a single size only, with that size; usually empty."""


@runtime_checkable
class ExportsOnnx(Protocol):
    """A trainable that can write the network of a checkpoint as an ONNX file, for `export --onnx`.

    A minimal implementation:

        @classmethod
        def export_onnx(cls, config, checkpoint, path, origin):
            network, example = load(checkpoint), torch.zeros(1, 3, *config.size)
            torch.onnx.export(network, (example,), path, dynamo=True)
            return OnnxFile(difference(network, path, example), {})
    """

    @classmethod
    def export_onnx(cls, config: Any, checkpoint: Path, path: Path, origin: Mapping[str, Any] | None) -> OnnxFile:
        """Write the network of a checkpoint as an ONNX file.

        Args:
            config: The config that the checkpoint was trained with.
            checkpoint: Folder of the checkpoint.
            path: The file to write.
            origin: A description of where the config comes from, for the file's metadata.

        Raises:
            InputError: a library is missing, or the folder holds no checkpoint of this config.
            RuntimeError: the file does not compute the same scores as the network.
        """
        ...


@runtime_checkable
class HasSeed(Protocol):
    """A config that holds the seed of its training. A confirmation trains it with several seeds.

    A minimal implementation, for a config with a field `seed`:

        def with_seed(self, seed):
            return self.model_copy(update={"seed": seed})
    """

    def with_seed(self, seed: int) -> Self:
        """Return the config with another seed."""
        ...


@runtime_checkable
class NamesBeginning(Protocol):
    """A trainable that can tell from a config alone which trials begin with the same training.

    The search then counts shared iterations once, and calls `share_beginning` only for trials that can share some.

    A minimal implementation, for a training whose first 100 iterations depend on `batch_size` alone:

        @classmethod
        def num_shared_iters(cls, config):
            return 100

        @classmethod
        def shared_key(cls, config):
            return str(config.batch_size)
    """

    @classmethod
    def num_shared_iters(cls, config: Any) -> int:
        """Return the number of first iterations that a trial may have in common with others."""
        ...

    @classmethod
    def shared_key(cls, config: Any) -> str:
        """Return a text that is equal for configs whose shared iterations are the same training."""
        ...


@runtime_checkable
class HasSharedValues(Protocol):
    """A config whose training may begin with other values than it continues with.

    A minimal implementation, for a config with a field `shared_values` that the training reads:

        def with_shared_values(self, values):
            return self.model_copy(update={"shared_values": dict(values)})
    """

    def with_shared_values(self, values: Mapping[str, Any]) -> "HasSharedValues":
        """Return the config with the search's base values, by dotted path, filled in for the shared iterations."""
        ...


@runtime_checkable
class HasUnused(Protocol):
    """A config that knows which of its values are unused.

    A minimal implementation:

        def unused(self):
            return {} if self.method == "momentum" else {"momentum": f"method is {self.method}"}
    """

    def unused(self) -> dict[str, str]:
        """Return the dotted path of every unused value or section, with the reason."""
        ...


@runtime_checkable
class HasWarmup(Protocol):
    """A config whose training changes its loss after a number of iterations. No rung may lie before that.

    A minimal implementation:

        def warmup_end(self):
            return self.warmup_iters
    """

    def warmup_end(self) -> int:
        """Return the iteration at which the last part of the loss begins."""
        ...


@runtime_checkable
class HasThreads(Protocol):
    """A config that holds the number of CPU threads, which affects the result.

    A minimal implementation, for a config with a field `num_threads` that is None by default:

        def with_threads(self, num_threads):
            return self if self.num_threads else self.model_copy(update={"num_threads": num_threads})
    """

    def with_threads(self, num_threads: int) -> "HasThreads":
        """Return the config with this number of threads filled in, unless it gives one."""
        ...


@runtime_checkable
class HasMemoryEstimate(Protocol):
    """A config that can estimate its peak memory, so that a trial that would not fit need not be started.

    A minimal implementation:

        def memory_estimate(self):
            return self.network, float(self.batch_size * self.width)
    """

    def memory_estimate(self) -> tuple[str, float]:
        """Return a name, and a number that grows about linearly with the peak memory of all configs of that name.

        The number may have any unit: the search learns its scale from measured peaks. Use one name for everything that
        has the same scale, for example for one network.
        """
        ...


@runtime_checkable
class HasBudget(Protocol):
    """A config that knows its full budget in iterations.

    A minimal implementation, for a config with a field `iterations`:

        def max_iters(self):
            return self.iterations
    """

    def max_iters(self) -> int:
        """Return the full budget."""
        ...


@runtime_checkable
class HasReportIters(Protocol):
    """A config that knows how often its training reports.

    A minimal implementation, for a training that reports after every 10 iterations:

        def report_iters(self):
            return 10
    """

    def report_iters(self) -> int:
        """Return the number of iterations between two reports."""
        ...


@runtime_checkable
class HasMetricEntries(Protocol):
    """A config that knows what the numbers of a reported list stand for, so that a constraint may name one of them.

    A minimal implementation:

        def metric_entries(self):
            return {"recall": tuple("0123456789")}
    """

    def metric_entries(self) -> dict[str, tuple[str, ...]]:
        """Return the name of every list of a report, with the names of its numbers."""
        ...


class Given(NamedTuple):
    """One value given beside a config file of another program (see `Dialect`), with its place in that file."""

    text: str
    """The flag and its value as the user wrote them."""
    path: str
    """Dotted path in the file."""
    value: Any


@dataclass(frozen=True)
class DialectFlags:
    """The flags of another program among the words of a command line."""

    given: tuple[Given, ...] = ()
    """Values given by the flags."""
    passed_over: tuple[str, ...] = ()
    """Flags of the other program that have no meaning here."""
    rest: tuple[str, ...] = ()
    """All other words, in order."""
    faults: tuple[Fault, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all flags as they were written."""
        return tuple(given.text.split()[0] for given in self.given) + self.passed_over

    @property
    def tasks(self) -> Mapping[str, str]:
        """Flags that ask for something other than training from the start, each with what to do instead."""
        return {}


@dataclass(frozen=True)
class DialectReading:
    """The contents of a file of a dialect, as values of the config."""

    values: dict[str, Any]
    """The nested config, not yet validated; it lacks the values that the file does not give."""
    origins: dict[str, str]
    """Dotted path of the config -> the file and place, or the flag, that the value comes from."""
    notices: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


class Dialect(Protocol):
    """The config files of another program, with the flags of its command line."""

    name: str
    """Key under `config:` that names a file of the dialect."""
    programs: str
    """Names of the programs that read such files, for messages."""

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Return True if a document is a file of the dialect, judged by its keys."""
        ...

    def read_flags(self, words: Sequence[str], folder: Path) -> DialectFlags:
        """Return the flags among the words of a command line; the paths that they give are relative to `folder`."""
        ...

    def given_at(self, document: Mapping[str, Any], path: str, text: str, value: Any, folder: Path) -> Given | None:
        """Return a value for a dotted path of the file; None if the dialect has no such place.

        Args:
            document: The file, which may hold places that the dialect does not list.
            path: The dotted path.
            text: The value and its path as the user wrote them.
            value: The value; where it names a file, it is relative to `folder`.
            folder: Folder that relative paths start from.
        """
        ...

    def read(self, document: Mapping[str, Any], source: str, given: Sequence[Given]) -> DialectReading:
        """Return the config that a file and the values given beside it describe; messages name the file `source`."""
        ...


@runtime_checkable
class HasDialect(Protocol):
    """A config model that can also be read from the config files of another program.

    A minimal implementation, for a program whose files have other names for some values:

        class Yolo:
            name, programs = "yolo", "YOLO"
            names = {"lr0": "lr", "batch": "batch_size"}

            def recognises(self, document):
                return "lr0" in document

            def read_flags(self, words, folder):
                return DialectFlags(rest=tuple(words))

            def given_at(self, document, path, text, value, folder):
                return Given(text, path, value) if path in self.names else None

            def read(self, document, source, given):
                theirs = {**document, **{one.path: one.value for one in given}}
                values = {self.names[name]: value for name, value in theirs.items() if name in self.names}
                return DialectReading(values, {})

        class Config(BaseModel):
            DIALECT: ClassVar[Dialect] = Yolo()
    """

    DIALECT: Dialect


class DialectFile(NamedTuple):
    """A config as a file of another program."""

    document: dict[str, Any]
    flags: str
    """Flags that the other program needs besides the file."""
    unsaid: tuple[str, ...]
    """Dotted paths of the values in use that the other program does not support."""


@runtime_checkable
class WritesDialect(Protocol):
    """A trainable whose config can be written as a config file of another program, for `export --format`.

    A minimal implementation, for the program of the example above:

        DIALECT_NAME = "yolo"

        @classmethod
        def write_dialect(cls, config):
            return DialectFile({"lr0": config.lr, "batch": config.batch_size}, flags="", unsaid=())
    """

    DIALECT_NAME: str
    """Value of `export --format`."""

    @classmethod
    def write_dialect(cls, config: Any) -> DialectFile:
        """Return a config as a file of the other program.

        Raises:
            InputError: something that the file must hold, such as a property of the dataset, cannot be read.
        """
        ...


TRAINABLE_CAPABILITIES: tuple[type, ...] = (
    DeclaresConfig,
    DeclaresMetrics,
    DeclaresDraws,
    HasPreflight,
    ChecksCombinations,
    DescribesData,
    ChoosesOnMachine,
    MeasuresCost,
    SharesBeginning,
    TellsIterations,
    NamesResumeFiles,
    Evaluates,
    ChecksSplit,
    PredictsPictures,
    ExportsOnnx,
    NamesBeginning,
    WritesDialect,
)
"""Protocols that the class of a trainable may implement."""

CONFIG_CAPABILITIES: tuple[type, ...] = (
    HasSeed,
    HasSharedValues,
    HasUnused,
    HasWarmup,
    HasThreads,
    HasMemoryEstimate,
    HasBudget,
    HasReportIters,
    HasMetricEntries,
    HasDialect,
)
"""Protocols that the config model of a trainable may implement."""
