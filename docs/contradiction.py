"""The picture of README: one scan of a nine, as two runs answer it.

mulsupcon-ld train --dataset digits --loss bce --no-coherent --output-dir runs/one-by-one
hlstm train --dataset digits --output-dir runs/coherent
python docs/contradiction.py runs/one-by-one runs/coherent docs/data/contradiction.svg
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from hmc_shared.data import load_dataset
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.runs.read import load_run

SCAN = "scan-0073"
TITLES = ("Every class by itself", "Coherent: HLSTM")
WRONG, RIGHT, FAINT = "#b3261e", "#1f6f43", "#8a8f98"


def draw_tree(axes: Axes, hierarchy: Hierarchy, probabilities: np.ndarray, title: str) -> None:
    """The classes from the root down, with their probabilities; an edge to a more probable child is red."""
    edges = np.asarray(hierarchy.edges).reshape(-1, 2)
    parents = {int(child): int(parent) for parent, child in edges}
    leaves = [
        c for c in sorted(range(len(hierarchy)), key=lambda c: _path(c, parents)) if c not in parents.values()
    ]
    x = {c: float(i) for i, c in enumerate(leaves)}
    for c in reversed(range(len(hierarchy))):  # children have larger ids than their parents
        if c not in x:
            x[c] = float(np.mean([x[int(child)] for parent, child in edges if parent == c]))
    y = {c: -len(_path(c, parents)) for c in x}
    for child, parent in parents.items():
        broken = probabilities[child] > probabilities[parent] and probabilities[child] > 0.5
        style = {"color": WRONG, "linewidth": 2.5} if broken else {"color": FAINT, "linewidth": 0.8}
        axes.plot([x[child], x[parent]], [y[child], y[parent]], zorder=1, **style)
    for c, name in enumerate(hierarchy.names):
        sure = probabilities[c] >= 0.5
        box = {"boxstyle": "round,pad=0.35", "facecolor": RIGHT if sure else "white", "edgecolor": FAINT}
        text = f"{name}\n{probabilities[c]:.2f}"
        axes.text(x[c], y[c], text, ha="center", va="center", color="white" if sure else "#30343b", bbox=box)
    axes.set_title(title, loc="left", fontweight="bold", pad=14)
    axes.set(xlim=(-0.7, len(leaves) - 0.3), ylim=(min(y.values()) - 0.5, max(y.values()) + 0.4))
    axes.axis("off")


def _path(c: int, parents: dict[int, int]) -> tuple[int, ...]:
    return (*(_path(parents[c], parents) if c in parents else ()), c)


def main(runs: list[str], output: str) -> None:
    plt.rcParams |= {"svg.hashsalt": "contradiction", "font.size": 9, "svg.fonttype": "path"}
    figure, (left, *right) = plt.subplots(
        1, 3, figsize=(15, 3.2), gridspec_kw={"width_ratios": [1, 5, 5]}, layout="constrained"
    )
    test = load_dataset("digits", view="image").test
    left.imshow(test.inputs[list(test.ids).index(SCAN), 0], cmap="Greys")
    left.set_title("A nine", loc="left", fontweight="bold", pad=14)
    left.axis("off")
    for axes, folder, title in zip(right, runs, TITLES, strict=True):
        run = load_run(folder)
        draw_tree(axes, run.hierarchy, run.probabilities[list(run.ids).index(SCAN)], title)
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1:3], sys.argv[3])
