"""What the commands of all methods share: dispatch, exit codes, the options of ``evaluate`` and ``predict``.

Nothing here imports torch, so that every ``--help`` is there at once: a command's options are parsed first,
and the module that does the work is imported then.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from hmc_shared.cli.bounds import Bounds, Count, check, check_options
from hmc_shared.cli.metavars import Folder, Name
from hmc_shared.cli.parse import parse
from hmc_shared.cli.stopping import STOP, Stopped, is_first_process, stop_with_parent
from hmc_shared.cli.version import distribution_version

LAUNCHERS = {
    "accelerate": "accelerate",
    "accelerate-launch": "accelerate-launch",
    "accelerate.commands.launch": "accelerate-launch",
    "torchrun": "torchrun",
    "torch.distributed.run": "torchrun",
}
"""What starts several processes, a program or a module, and the program that does the same."""


@dataclass(frozen=True)
class Command:
    """One command of a program."""

    help: str
    """A line for the list of commands."""
    options: type
    """The dataclass that its command line fills."""
    run: str
    """"module:function", which takes the options and prints what the command prints."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Score a split of a data set with a trained model and print the metrics."""

    library: ClassVar[str | None] = None
    """The package whose models the command takes; None: any."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder, or the folder of a saved model."""
    dataset: Annotated[str | None, Name] = None
    """Data set; default: the one that the run was trained on."""
    data_dir: Annotated[str | None, Folder] = None
    """Folder of the data sets; default: the environment variable HMC_DATA."""
    split: Literal["train", "validation", "test"] = "test"
    """The split to score."""
    workers: Annotated[int, Bounds(0)] = 2
    """Processes that read images."""
    json: bool = False
    """Print JSON instead of lines."""
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Where the model computes, such as cpu, cuda or cuda:1; default: the GPU, if there is one."""

    def __post_init__(self) -> None:
        check_options(self)

    def preprocessing(self, protocol: str) -> str:
        """How feature vectors are preprocessed for a run of a protocol."""
        return "default"

    def apply_to(self, model: Any) -> None:
        """Set what the options say of the model; a package may add to this."""


@dataclass(frozen=True, kw_only=True)
class CertainOptions:
    """Answers that go as deep as is certain."""

    target_error: Annotated[float, Bounds(0, 1, open_low=True, open_high=True)] | None = None
    """Answer as deep as possible while at most this share of the answers is wrong. For samples of one path
    each. A row may get no answer."""
    confidence: Annotated[float, Bounds(0, 1, open_low=True, open_high=True)] = 0.9
    """Probability with which --target-error holds."""
    sets: bool = False
    """With --target-error, give sets of classes instead: at most this share of them, on average, lacks a true
    class."""

    def __post_init__(self) -> None:
        check_options(self)
        check(self, "sets", self.target_error is not None or not self.sets, "come with --target-error")


Format = Literal["wide", "long", "levels", "json"]


@dataclass(frozen=True, kw_only=True)
class OutputOptions(CertainOptions):
    """Where answers go, and how they are laid out."""

    output: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """File for the result, .csv, .tsv, .parquet or .json; default: CSV on standard output."""
    format: Annotated[Format | None, tyro.conf.arg(metavar="NAME")] = None
    """wide: a row for each sample, with id, labels separated by ";", and a column for the probability of each
    class. long: a row for each sample and class. levels: for samples of one path, the class of each level and
    its probability. json: of each sample the most specific labels, with their paths, and all probabilities.
    Default: wide, or json for a file that ends so."""
    top_k: Annotated[Count | None, tyro.conf.arg(metavar="K")] = None
    """Instead of the probabilities of all classes, the K most probable leaves, the best first."""

    @property
    def usual(self) -> Format:
        """The format without --format."""
        return "wide"

    @property
    def layout(self) -> Format:
        is_json = (self.output or "").lower().endswith(".json")
        return self.format or ("json" if is_json else self.usual)

    def __post_init__(self) -> None:
        super().__post_init__()
        suffix = Path(self.output or "").suffix.lower()
        fits = suffix in ("", ".csv", ".tsv", ".txt", ".parquet", ".json")
        check(self, "output", fits, "end in .csv, .tsv, .parquet or .json")
        is_whole = suffix not in (".parquet", ".tsv", ".csv") if self.format == "json" else suffix != ".json"
        fits = self.format is None or is_whole
        check(self, "format", fits, f"fit the name of `--output`, {self.output}")
        check(self, "top_k", self.top_k is None or self.layout != "levels", "come without --format levels")


@dataclass(frozen=True)
class PredictOptions(OutputOptions):
    """Write the labels, and the calibrated probability of every class, for each row of a table or each image.

    Labels are those at the threshold that was best in validation. Where none was chosen they are the classes
    with probability 1/2 or more, or, where the training samples had one path each, the path to the most
    probable leaf. No class is more probable than its parent, unless the model was trained with --no-coherent.
    """

    library: ClassVar[str | None] = None
    """The package whose models the command takes; None: any."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder, or the folder of a saved model."""
    inputs: Annotated[
        list[str],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="INPUT [INPUT ...]", help_behavior_hint="(required)"),
    ]
    """Raw features, a row for each sample: one .csv or .tsv with a header, .parquet, or .npy. A column named
    "id" names the rows; an empty cell, "?" or NA is a missing value; a model that was trained on a table
    looks for its columns by name, and leaves out others. For models of images: image files and folders of
    images, or one .npy file (n, channels, height, width) with values 0 to 255. For models of vectors that
    `hmc embed` made: also images, or a table of texts, as those were. "-": standard input, a table or array,
    or names of image files, one a line."""
    min_confidence: Annotated[float, Bounds(0, 1)] | None = None
    """Label only what is at least this probable: down to the deepest such class, or all such classes where
    samples may have several paths. A row without any gets no label."""
    threshold: Annotated[float, Bounds(0, 1)] | None = None
    """Label all classes that are at least this probable, also several in a level."""
    calibrate: bool = True
    """Give calibrated probabilities."""
    keep: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="COLUMN")] = ()
    """Column of the table to copy to the result; may be repeated."""
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Where the model computes, such as cpu, cuda or cuda:1; default: the GPU, if there is one."""
    batch_size: Annotated[Count | None, tyro.conf.arg(metavar="N")] = None
    """Rows to score at a time; default: what suits the model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.inputs:
            raise ValueError("INPUT should be a table, an array, or images, after the run. Found none.")
        names = ("target_error", "min_confidence", "threshold")
        rules = [name for name in names if getattr(self, name) is not None]
        for name in rules[1:]:
            check(self, name, False, f"come without --{rules[0].replace('_', '-')}")
        is_certain = self.target_error is not None
        check(self, "calibrate", self.calibrate or not is_certain, "stay on with --target-error")

    def apply_to(self, model: Any) -> None:
        """Set what the options say of the model; a package may add to this."""
        if not self.calibrate:
            model.calibration.reset()
        if self.batch_size is not None:
            model.batch_size = self.batch_size


def run_program(
    prog: str, package: str, commands: Mapping[str, Command], argv: Sequence[str] | None = None
) -> None:
    """Entry point of a method's program: ``prog COMMAND [options]``, or with ``--version``.

    ``package`` is the import name, whose folder ``configs`` holds the YAML files of ``train``.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    exit_codes(lambda: dispatch(words, prog, package, commands), prog)


def dispatch(argv: Sequence[str], prog: str, package: str, commands: Mapping[str, Command]) -> None:
    """Run the command that the first word names. Raises ValueError for another name."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: {prog} COMMAND [--help] [options]\n       {prog} --version\n")
        print("\n".join(f"  {name:10}{command.help}" for name, command in commands.items()))
        return
    if argv[0] == "--version":
        print(f"{prog} {distribution_version(prog)}")
        return
    if argv[0] not in commands:
        raise ValueError(f"the command should be one of {', '.join(commands)}. Found {argv[0]!r}.")
    command = commands[argv[0]]
    config = parse(command.options, argv[1:], prog=f"{prog} {argv[0]}", package=package)
    import_module("hmc_shared.runs.missing_data").check_data_set(config)
    module, _, function = command.run.partition(":")
    getattr(import_module(module), function)(config)


def exit_codes(command: Callable[[], None], prog: str) -> None:
    """Run a command and exit: 0 done, 2 wrong usage or input (one line on stderr), 1 failure.

    A file that cannot be read or written is a failure of one line; a loss that is not finite and memory that
    does not suffice are matters of options. A signal exits with 128 plus its number. ``HMC_DEBUG=1`` shows
    the whole traceback of these as well.
    """
    STOP.catch()
    try:
        stop_with_parent()
        command()
    except BrokenPipeError:  # as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, FloatingPointError, OSError, MemoryError, RuntimeError) as error:
        is_out_of_memory = _is_out_of_memory(error)
        if os.environ.get("HMC_DEBUG") or (isinstance(error, RuntimeError) and not is_out_of_memory):
            raise
        remedy = ": try a smaller --batch-size" if is_out_of_memory else ""
        print(f"{prog}: error: {' '.join(str(error).split())}{remedy}", file=sys.stderr)
        sys.exit(1 if isinstance(error, OSError) else 2)
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Stopped) else signal.SIGINT
        if is_first_process():
            print(f"{prog}: {str(error) or 'interrupted'}", file=sys.stderr)
        sys.exit(128 + number)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether it is Python's error, or torch's by its name or words: torch is not imported here."""
    words = "DefaultCPUAllocator: can't allocate memory"
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or words in str(error)


def format_metrics(metrics: Mapping[str, float | None]) -> str:
    """One line a metric; counts as integers, undefined values as a dash."""
    return "\n".join(f"{name:28} {_shown(name, value)}" for name, value in metrics.items())


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if name.endswith(("_classes", "_absent")) else f"{value:.4f}"


def command_line() -> str | None:
    """The command that repeats the run of this process: as it was started, less where it writes.

    Where a launcher started several processes, it is the launcher's.

    None unless the process was started as the command ``train`` of a method, or as ``hmc peer``: from Python,
    the file config.yaml says all that there is to say.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # of `python -m NAME`
    if sys.argv[1:2] not in (["train"], ["peer"], ["blend"]) and not (spec and spec.name.endswith(".train")):
        return None
    words = ["python", "-m", spec.name.removesuffix(".__main__")] if spec else [Path(sys.argv[0]).stem]
    rest = iter(sys.argv[1:])
    for word in rest:
        name = word.split("=")[0].replace("_", "-")
        if name in ("--output-dir", "--output") and "=" not in word:
            next(rest, None)
        elif name not in {
            "--output-dir",
            "--output",
            "--resume",
            "--no-resume",
            "--overwrite",
            "--no-overwrite",
        }:
            words.append(word)
    if start := launcher():
        words = [*shlex.split(start), *(words[1:] if words[0] == "python" else words)]
    return shlex.join(words)


def resume_command(folder: Path) -> str:
    """The command that goes on with the run of this process in its folder."""
    command = command_line()
    if command is None:
        return f"the options of {folder / 'config.yaml'} and resume=True"
    return shlex.join([*shlex.split(command), "--output-dir", str(folder), "--resume"])


def launcher() -> str | None:
    """The options that a launcher was called with, as in "accelerate launch --num_processes 2".

    None where no launcher started this process, or where the system does not tell.
    """
    try:
        content = Path(f"/proc/{os.getppid()}/cmdline").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    words = content.rstrip("\0").split("\0")
    places = [i for i, word in enumerate(words) if Path(word).name in LAUNCHERS]
    if not places:
        return None
    start, *rest = words[places[0] :]
    module = rest.index("-m") if "-m" in rest else len(rest)
    return shlex.join([LAUNCHERS[Path(start).name], *rest[:module]])
