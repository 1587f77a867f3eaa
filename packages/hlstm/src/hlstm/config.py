"""Options of the commands ``hlstm train``, ``evaluate`` and ``predict``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from hmc_shared.cli.bounds import Bounds, Count, NonNegative, NonNegativeInt, Share, ShareBelow1, check
from hmc_shared.cli.commands import EvaluateOptions, PredictOptions
from hmc_shared.cli.train_options import DecidingOptions, FeatureOptions, OptimisationOptions

MethodName = Literal[
    "hlstm", "chmcnn", "dhn", "chmc-lstm", "hmcn-r", "hmcn-f", "hmcn-chmc", "hmc-lmlp", "clus-ens"
]


@dataclass(frozen=True)
class NetworkOptions:
    title: ClassVar[str] = "network"

    members: Count = 1
    """Networks that are trained together, each with its own initial weights, dropout and order of rows; they
    predict the mean of their probabilities."""
    hidden_size: Count = 512
    """Units of a hidden layer, and of the LSTM state."""
    num_layers: Count = 2
    """Hidden layers before the output, where the LSTM cell counts as one; hmcn-f and hmc-lmlp have their own
    number."""
    dropout: ShareBelow1 = 0.7
    """Probability that a hidden unit is dropped."""
    max_levels: Count | None = None
    """Merge all deeper levels into the last of this many; default: one step for each level (longest path)."""
    prior_bias: bool = False
    """Start the biases of the outputs at the log-odds of each class in the training split."""
    local_init: Literal["constant", "zeros", "ones", "normal", "xavier", "he"] = "constant"
    """Initial local weights W_L (Appendix B)."""
    local_constant: float = 0.1
    """The value for --local-init constant."""


@dataclass(frozen=True)
class ForestOptions:
    title: ClassVar[str] = "forest"

    trees: Count = 50
    """Trees of the forest (clus-ens)."""
    min_leaf: Count = 5
    """Training rows that a leaf has at least."""
    max_features: Annotated[float, Bounds(0, 1, open_low=True)] = 1.0
    """Share of the features that are tried at a split, drawn anew for each."""
    splitter: Literal["best", "random"] = "best"
    """best: the best split of a feature, on a bootstrap sample of the rows for each tree. random: a split of
    each feature drawn at random, on all rows (extremely randomised trees)."""
    level_weight: Annotated[float, Bounds(0, 1, open_low=True)] = 0.75
    """w0: weight of a class in the variance that splits reduce, against the mean of its parents'."""
    projections: NonNegativeInt = 0
    """Random combinations of the classes, new for each tree, of which splits reduce the variance, in place of
    the classes: faster where these are many; 0: the classes themselves."""


@dataclass(frozen=True)
class LossOptions:
    title: ClassVar[str] = "loss"

    global_weight: Share = 0.7
    """b_r of Eq. (5): weight of MCLoss against LHLoss (hlstm); the paper has 0.5. alpha (dhn): weight of what
    is of a class against what is not."""
    mask_positive_parent: bool = False
    """Keep LHLoss from pushing down a positive parent that scores below its negative child."""
    violation_weight: NonNegative = 0.1
    """lambda of HMCN: weight of the hierarchy violation loss (hmcn-r, hmcn-f, hmcn-chmc)."""
    partial_labels: bool = False
    """Take the classes below a sample's deepest label as unknown, not as absent, for samples that are
    labelled as far as somebody could tell. The loss, and what validation chooses, then leave them out."""


@dataclass(frozen=True)
class AdamOptions(OptimisationOptions):
    epochs: Count = 100
    """Passes over the training rows, at most; with --in-turn, as many for each level."""
    in_turn: bool = False
    """Train the levels one after another, from the top, each while the others are frozen, as HMC-LMLP was
    published (hmc-lmlp). Validation chooses among the epochs of the last level."""
    patience: Count = 15
    """Stop after this many epochs without a better validation score (default protocol)."""
    batch_size: Count = 128
    """Rows in a step, over all processes together."""
    learning_rate: NonNegative = 2e-3
    """Step size of Adam."""
    weight_decay: NonNegative = 1e-6
    """L2 penalty of Adam, added to the gradient."""
    weight_average: Annotated[float, Bounds(0, 1, open_high=True)] = 0.0
    """Decay, each step, of an exponential moving average of the weights, which is then what is scored and
    kept; 0: the weights themselves."""


@dataclass(frozen=True)
class Config(NetworkOptions, ForestOptions, LossOptions, AdamOptions, FeatureOptions, DecidingOptions):
    """Train HLSTM or one of its baselines on feature vectors with a tree or DAG of classes."""

    package: ClassVar[str] = "hlstm"
    title: ClassVar[str] = "method"

    method: MethodName = "hlstm"
    """The paper's method, a baseline of its Table II, dhn (2026), or clus-ens, a forest of predictive
    clustering trees; all in the same trainer."""
    protocol: Literal["default", "refit", "paper"] = "default"  # pyright: ignore[reportIncompatibleVariableOverride]
    """default: the epoch with the best validation AU(PRC). refit: choose it so, then train anew on training +
    validation rows, for as many steps. paper: train on training + validation rows, keep the last epoch, with
    the papers' settings where the data set's configuration has them."""

    test_curve: bool = False
    """Score the test split, too, after each epoch, for learning curves such as the paper's Figures 7 to 9:
    test/au_prc in metrics.jsonl. Only with --protocol paper, where nothing is chosen by it."""

    @property
    def preprocessing(self) -> Literal["default", "paper"]:
        return preprocessing_of(self.protocol)

    @property
    def label(self) -> str:
        label = f"{self.method}-in-turn" if self.in_turn else self.method
        return label if self.members == 1 else f"{label}-x{self.members}"

    def __post_init__(self) -> None:
        super().__post_init__()
        is_one = self.members == 1 or self.method != "clus-ens"
        check(self, "members", is_one, "be 1 with --method clus-ens, whose trees are --trees")
        has_steps = not self.dry_run or self.method != "clus-ens"
        check(self, "dry_run", has_steps, "be left out with --method clus-ens, which takes no steps")
        is_whole = not self.partial_labels or self.method != "clus-ens"
        check(
            self,
            "partial_labels",
            is_whole,
            "be left out with --method clus-ens, whose trees need all labels",
        )

        has_levels = self.method == "hmc-lmlp" and self.members == 1 and self.protocol != "refit"
        check(
            self,
            "in_turn",
            has_levels or not self.in_turn,
            "be left out but with --method hmc-lmlp, one member, and another protocol than refit",
        )
        chooses_nothing = self.protocol == "paper" and self.method != "clus-ens"
        check(
            self,
            "test_curve",
            chooses_nothing or not self.test_curve,
            "be left out but with --protocol paper, which chooses nothing by it, and a network",
        )

    def free_on_resume(self) -> frozenset[str]:
        free = super().free_on_resume()
        # Among the epochs the selection has chosen; the levels that are trained in turn have so many each.
        return free if self.protocol == "refit" or self.in_turn else free | {"epochs"}


def preprocessing_of(protocol: str) -> Literal["default", "paper"]:
    """How feature vectors are preprocessed under a protocol: of its own under "paper" alone."""
    return "paper" if protocol == "paper" else "default"


@dataclass(frozen=True)
class EvaluateConfig(EvaluateOptions):
    """Score a split of a data set with a trained model and print the metrics."""

    library: ClassVar[str] = "hlstm"

    protocol: Literal["default", "paper"] | None = None
    """Preprocessing; default: that of the run."""

    def preprocessing(self, protocol: str) -> str:
        return self.protocol or preprocessing_of(protocol)


@dataclass(frozen=True)
class PredictConfig(PredictOptions):
    """Write the labels, and the calibrated probability of every class, for each row of a table.

    No class exceeds its parent. Labels are the classes at the threshold that was best in validation,
    ancestors included; where the training samples had one path each, the path to the most probable leaf. A
    run of --protocol paper has no threshold: they are the classes with probability 1/2 or more.
    """

    library: ClassVar[str] = "hlstm"
