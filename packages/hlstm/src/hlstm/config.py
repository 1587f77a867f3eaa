"""Options of ``hlstm train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from hmc_shared.cli import options

Method = Literal["hlstm", "chmcnn", "chmc-lstm", "hmcn-r", "hmcn-f", "hmcn-chmc", "hmc-lmlp"]

FREE = frozenset({"config", "resume", "overwrite", "output_dir", "data_dir"})
"""Options that a run may be resumed with whatever they were."""


@dataclass(frozen=True)
class Config:
    """Train HLSTM or one of its baselines on feature vectors with a tree or DAG of classes."""

    dataset: str = "digits"
    """Data set: an embedded one (digits, digit-scenes), the name of a set below --data-dir; table:PATH for a
    .csv or .parquet file, hf:PATH for a data set of the `datasets` library with --levels."""
    data_dir: str | None = None
    """Folder of the data sets; default: the environment variable HMC_DATA."""
    levels: str | None = None
    """Columns of labels of a data set hf:PATH or table:PATH, coarse to fine, with commas between them."""
    output_dir: str | None = None
    """Run folder; default: runs/<dataset>/<method>/seed-<seed>, or <method>-paper under that protocol."""
    config: str | None = None
    """YAML file of options, or the name of a shipped one; default: the shipped one named like --dataset."""
    method: Method = "hlstm"
    """The paper's method or a baseline of its Table II, in the same trainer."""
    protocol: Literal["default", "paper"] = "default"
    """default: the epoch with the best validation AU(PRC). paper: train on train + validation, keep the last
    epoch, with the papers' settings where the data set's configuration has them."""
    seed: int = 0
    """Seed of initialisation, order of rows and dropout."""
    resume: bool = False
    """Go on in the run folder from its last checkpoint."""
    overwrite: bool = False
    """Empty the run folder first."""

    epochs: int = 100
    """Passes over the training rows, at most."""
    patience: int = 15
    """Stop after this many epochs without a better validation score (default protocol)."""
    batch_size: int = 128
    """Rows in a step, over all processes together."""
    learning_rate: float = 2e-3
    """Step size of Adam."""
    weight_decay: float = 1e-6
    """L2 penalty of Adam, added to the gradient."""
    weight_average: float = 0.0
    """Decay, each step, of an exponential moving average of the weights, which is then what is scored and
    kept; 0: the weights themselves."""

    hidden_size: int = 512
    """Units of a hidden layer, and of the LSTM state."""
    num_layers: int = 2
    """Hidden layers before the output, where the LSTM cell counts as one; hmcn-f and hmc-lmlp have their own
    number."""
    dropout: float = 0.7
    """Probability that a hidden unit is dropped."""
    max_levels: int | None = None
    """Merge all deeper levels into the last of this many; default: one step for each level (longest path)."""
    prior_bias: bool = False
    """Start the biases of the outputs at the log-odds of each class in the training split."""
    global_weight: float = 0.7
    """b_r of Eq. (5): weight of MCLoss against LHLoss (hlstm); the paper has 0.5."""
    local_init: Literal["constant", "zeros", "ones", "normal", "xavier", "he"] = "constant"
    """Initial local weights W_L (Appendix B)."""
    local_constant: float = 0.1
    """The value for --local-init constant."""
    mask_positive_parent: bool = False
    """Keep LHLoss from pushing down a positive parent that scores below its negative child."""
    violation_weight: float = 0.1
    """lambda of HMCN: weight of the hierarchy violation loss (hmcn-r, hmcn-f, hmcn-chmc)."""

    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """Precision of the matrix products; losses, scores and metrics stay in float32 or better."""
    compile: bool = False
    """Compile the model with torch.compile."""
    checkpoint_every: int = 5
    """Epochs between checkpoints, which --resume needs."""

    @property
    def run_folder(self) -> Path:
        method = self.method + ("-paper" if self.protocol == "paper" else "")
        return Path(self.output_dir or f"runs/{self.dataset.replace(':', '-')}/{method}/seed-{self.seed}")

    def __post_init__(self) -> None:
        methods = get_args(Method)
        options.check(self, "method", self.method in methods, f"be one of {', '.join(methods)}")
        for name in ("epochs", "patience", "batch_size", "hidden_size", "num_layers", "checkpoint_every"):
            options.check(self, name, getattr(self, name) >= 1, "be at least 1")
        options.check(self, "max_levels", self.max_levels is None or self.max_levels >= 1, "be at least 1")
        for name in ("dropout", "weight_average"):
            options.check(self, name, 0 <= getattr(self, name) < 1, "lie in [0, 1)")
        options.check(self, "global_weight", 0 <= self.global_weight <= 1, "lie in [0, 1]")
        for name in ("learning_rate", "weight_decay", "violation_weight"):
            options.check(self, name, 0 <= getattr(self, name) < float("inf"), "be finite and not negative")
