"""MMoE against a loop over its experts; combined gradients against torchjd and the papers' definitions."""

from contextlib import nullcontext as nothing
from importlib.util import find_spec
from itertools import count

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hcal import baselines
from hcal.baselines import AGGREGATED, MMoE, aggregator, combined_backward
from hcal.build import load_model
from hcal.config import Config
from hcal.dmt import DMT
from hcal.losses import cross_entropies
from hcal.model import Flat
from hcal.train import train
from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from hmc_shared.runs.read import load_run

TREE = Hierarchy.from_paths(["a/p/u", "a/p/v", "a/q/w", "b/r/x", "b/r/y"])

needs_torchjd = pytest.mark.skipif(find_spec("torchjd") is None, reason="needs hcal[baselines]")
each_rule = pytest.mark.parametrize("method", sorted(AGGREGATED))


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", view="image")


@pytest.fixture
def flat():
    torch.manual_seed(0)
    return Flat(TREE, (4,), encoder="mlp", width=8)


def small(folder, **options):
    defaults = {"encoder": "resnet8", "width": 4, "crop_padding": 1, "flip": False, "batch_size": 16}
    return Config(output_dir=str(folder), **{**defaults, **options})


def paths_to(*leaves):
    ids = [TREE.index[name] for name in leaves]
    return torch.tensor([sorted(torch.nonzero(TREE.ancestors[leaf]).flatten().tolist()) for leaf in ids])


def level_losses(model, paths):
    inputs = torch.randn(len(paths), 4, generator=torch.Generator().manual_seed(1))
    return cross_entropies(model(inputs), paths, TREE.levels)


def rows_of(losses, parameters):
    """The gradient of each loss as a row: the Jacobian, one autograd call for each."""
    grads = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses]
    return torch.stack([torch.cat([part.flatten() for part in grad]) for grad in grads])


def gradient_of(parameters):
    return torch.cat([parameter.grad.flatten() for parameter in parameters])


def conflicting_rows(tasks=3):
    """Three gradients of different lengths, the first two at an obtuse angle."""
    generator = torch.Generator().manual_seed(5)
    base = F.normalize(torch.randn(3, 40, generator=generator))
    rows = torch.stack([base[0], base[1] - 0.6 * base[0], base[2] + 0.3 * base[0]])
    return (rows * torch.tensor([[1.0], [3.0], [0.5]]))[:tasks]


def test_mmoe_mixes_experts_as_a_loop_over_them_does():
    torch.manual_seed(0)
    model = MMoE(TREE, (4,), encoder="mlp", width=6, experts=3, expert_size=5)
    inputs = torch.randn(5, 4)
    features = model.encoder(inputs).detach()
    layer, gate = model.experts[0], model.gates[0]
    for row in range(5):
        outputs = [
            torch.relu(layer.weight[5 * e : 5 * e + 5] @ features[row] + layer.bias[5 * e : 5 * e + 5])
            for e in range(3)
        ]
        expected = []
        for depth, head in enumerate(model.heads):
            gates = range(3 * depth, 3 * depth + 3)
            scores = [(gate.weight[g] @ features[row] + gate.bias[g]).item() for g in gates]
            shares = np.exp(scores) / np.exp(scores).sum()
            expected.append(head(sum(float(s) * output for s, output in zip(shares, outputs, strict=True))))
        torch.testing.assert_close(model(inputs)[row], torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_every_level_of_mmoe_has_a_gate_that_sums_to_one():
    torch.manual_seed(0)
    model = MMoE(TREE, (1, 8, 8), encoder="resnet8", width=4)
    images = torch.rand(7, 1, 8, 8)
    gates = model.gates(model.encoder(images))
    assert gates.shape == (7, TREE.num_levels, 3)
    assert (gates > 0).all()
    torch.testing.assert_close(gates.sum(2), torch.ones(7, TREE.num_levels))
    assert not torch.allclose(gates[:, 0], gates[:, 1], atol=1e-3)
    assert model.logits(images).shape == (7, len(TREE))


def test_dmt_mixes_experts_as_a_loop_over_them_does():
    torch.manual_seed(0)
    model = DMT(TREE, (1, 8, 8), encoder="resnet8", width=4).eval()
    images = torch.rand(3, 1, 8, 8)
    x = model.seen(model.cells(images))
    for row in range(3):
        expected = []
        for depth, head in enumerate(model.heads):
            shares = (model.gates[0].weight[4 * depth : 4 * depth + 4] @ x[row]).add(
                model.gates[0].bias[4 * depth : 4 * depth + 4]
            )
            shares = shares.exp() / shares.exp().sum()
            mixed = sum(
                share * expert(x[row : row + 1]) for share, expert in zip(shares, model.experts, strict=True)
            )
            expected.append(head(mixed)[0])
        torch.testing.assert_close(model(images)[row], torch.cat(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ["resnet8", "resnet18"])
def test_dmt_reads_the_places_of_the_feature_map(encoder):
    torch.manual_seed(0)
    model = DMT(TREE, (3, 64, 32), encoder=encoder, **({"width": 4} if encoder == "resnet8" else {})).eval()
    images, stages = torch.rand(2, 3, 64, 32), []
    resnet = model.encoder if encoder == "resnet8" else model.encoder[1]
    last = resnet.layer3 if encoder == "resnet8" else resnet.layer4
    handle = last.register_forward_hook(lambda _, inputs, output: stages.append(output))
    cells = model.cells(images)
    handle.remove()
    down, across = stages[0].shape[2:]
    assert cells.shape[1] == down * across
    torch.testing.assert_close(cells[1, across], stages[0][1, :, 1, 0])  # the first of the second row
    mixed = cells.flip(1)
    assert not torch.allclose(model.seen(mixed), model.seen(cells), atol=1e-4)
    model.positions.data.zero_()  # without places the order says nothing
    torch.testing.assert_close(model.seen(mixed), model.seen(cells), atol=1e-5, rtol=1e-4)
    model.queries.data[1] = model.queries.data[0]  # and levels with one query see the same
    first, second, _ = model.seen(cells)[:, -3 * 80 :].split(80, dim=1)
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("encoder", ["mlp", "mobilenet_v3_small"])
def test_dmt_needs_a_resnet(encoder):
    shape = (4,) if encoder == "mlp" else (3, 32, 32)
    with pytest.raises(ValueError, match="`--encoder` should be a ResNet with dmt"):
        DMT(TREE, shape, encoder=encoder)


@needs_torchjd
@each_rule
def test_the_encoder_gets_what_torchjd_makes_of_the_jacobian(flat, method):
    from torchjd.aggregation import IMTLG, CAGrad, NashMTL

    paths = paths_to("a/p/u", "a/q/w", "b/r/x", "b/r/y", "a/p/v")
    shared = list(flat.encoder.parameters())
    losses = level_losses(flat, paths)
    jacobian = rows_of(losses, shared)
    assert torch.linalg.matrix_rank(jacobian) == 3
    rule = {"cagrad": lambda: CAGrad(c=0.4), "imtl-g": IMTLG, "nash-mtl": lambda: NashMTL(n_tasks=3)}[method]
    factor = 3 / 1.16 if method == "cagrad" else 1.0  # the tasks, over 1 + c^2
    combined_backward(method, flat)(losses, torch.zeros(3))
    with pytest.warns(UserWarning, match="DPP") if method == "nash-mtl" else nothing():
        expected = factor * rule()(jacobian)
    torch.testing.assert_close(gradient_of(shared), expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(expected, jacobian.mean(0), rtol=0.05)


@needs_torchjd
@each_rule
def test_a_head_gets_the_gradient_of_its_own_loss_by_its_weight(flat, method):
    """1; of Nash-MTL alpha, with G G^T alpha = 1 / alpha."""
    losses = level_losses(flat, paths_to("a/p/u", "a/q/w", "b/r/x"))
    jacobian = rows_of(losses, list(flat.encoder.parameters()))
    own = [torch.autograd.grad(loss, flat.heads.weight, retain_graph=True)[0] for loss in losses]
    combined_backward(method, flat)(losses, torch.ones(3))
    alpha = []
    for level, gradient in zip(TREE.levels, own, strict=True):
        found, expected = (g[level.start : level.stop] for g in (flat.heads.weight.grad, gradient))
        alpha.append(found.norm() / expected.norm())
        torch.testing.assert_close(found, alpha[-1] * expected)
    alpha, products = torch.stack(alpha), jacobian @ jacobian.T
    gains = alpha * (products @ alpha) if method == "nash-mtl" else alpha
    torch.testing.assert_close(gains, torch.ones(3), rtol=0.02, atol=0)


@needs_torchjd
def test_cagrad_stays_near_the_mean_and_helps_the_worst_task():
    """Eq. (2) of Liu et al. 2021: the best worst case within c |g0| of the mean gradient g0."""
    rows = conflicting_rows(tasks=2)
    mean = rows.mean(0)
    found = aggregator("cagrad")(rows)[0] * 1.16 / 2  # 1 + c^2 over the tasks
    radius = 0.4 * mean.norm()
    assert (found - mean).norm() == pytest.approx(radius.item(), rel=1e-3)
    worst = (rows @ found).min()
    assert worst > (rows @ mean).min()
    # Two tasks span a plane: no point of the circle around the mean does better.
    basis = torch.linalg.qr(rows.T).Q.T
    angles = torch.linspace(0, 2 * torch.pi, 2000)
    circle = mean + radius * torch.stack([angles.cos(), angles.sin()], 1) @ basis
    assert worst.item() == pytest.approx((rows @ circle.T).min(0).values.max().item(), rel=1e-3)


@needs_torchjd
def test_imtl_g_projects_equally_on_all_tasks():
    """Liu et al. 2021: the combined gradient has the same projection on every task's, weights sum to 1."""
    rows = conflicting_rows()
    found, _ = aggregator("imtl-g")(rows)
    projections = F.normalize(rows) @ found
    torch.testing.assert_close(projections, projections[:1].expand(3), rtol=1e-3, atol=1e-5)
    assert torch.linalg.lstsq(rows.T, found.unsqueeze(1)).solution.sum().item() == pytest.approx(1, abs=1e-4)


@needs_torchjd
def test_nash_mtl_is_the_bargaining_solution():
    """Claim 3.1 of Navon et al. 2022: sum_i alpha_i g_i with G G^T alpha = 1 / alpha, up to its length."""
    rows = conflicting_rows()
    found, _ = aggregator("nash-mtl")(rows)
    alpha = torch.linalg.lstsq(rows.T, found.unsqueeze(1)).solution.squeeze(1)
    assert (alpha > 0).all()
    gains = alpha * (rows @ found)
    torch.testing.assert_close(gains / gains.mean(), torch.ones(3), rtol=0.02, atol=0)
    assert found.norm().item() == pytest.approx(1, rel=1e-4)


@needs_torchjd
@each_rule
def test_a_level_without_a_gradient_has_no_say(method):
    rows = conflicting_rows(tasks=2)
    with_empty = torch.stack([rows[0], torch.zeros(40), rows[1]])
    (found, weights), (expected, of_tasks) = aggregator(method)(with_empty), aggregator(method)(rows)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(weights, torch.stack([of_tasks[0], torch.tensor(1.0), of_tasks[1]]))
    alone = torch.stack([torch.zeros(40), rows[1]])
    assert torch.equal(aggregator(method)(alone)[0], rows[1])
    assert torch.equal(aggregator(method)(torch.zeros(3, 40))[0], torch.zeros(40))


@needs_torchjd
@each_rule
def test_with_one_level_a_step_is_that_of_plain_descent(method):
    """Convolutions lie channels-last in memory, and the fused optimiser relies on equal strides."""
    hierarchy = Hierarchy.from_paths(["a", "b", "c"])
    images, paths = torch.rand(6, 3, 8, 8), torch.tensor([[0], [1], [2], [0], [1], [2]])
    trained = []
    for backward in (combined_backward, None):
        torch.manual_seed(0)
        model = Flat(hierarchy, (3, 8, 8), encoder="resnet8", width=4).to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
        for _ in range(2):
            losses = cross_entropies(model(images), paths, hierarchy.levels)
            if backward:
                backward(method, model)(losses, torch.ones(1))
            else:
                losses.sum().backward()
            for parameter in model.parameters():
                assert parameter.grad.stride() == parameter.stride()
            optimizer.step()
            optimizer.zero_grad()
        trained.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(*trained)


@pytest.mark.parametrize(
    "method", ["mmoe", "cmt", "dmt", *(pytest.param(m, marks=needs_torchjd) for m in sorted(AGGREGATED))]
)
def test_every_method_learns_and_is_saved(tmp_path, digits, method):
    steps = {"optimizer": "adam", "learning_rate": 5e-3} if method in ("mmoe", "dmt") else {}
    config = small(tmp_path / "run", method=method, width=8, epochs=5, **{"batch_size": 64, **steps})
    results = train(config, digits)
    assert results["method"] == method
    assert results["metrics"]["test/accuracy_leaf"] > (0.15 if method == "dmt" else 0.5)  # chance: 0.1
    run = load_run(tmp_path / "run")
    saved = load_model(tmp_path / "run" / "model")
    assert isinstance(saved, {"mmoe": MMoE, "dmt": DMT}.get(method, Flat))
    if method == "cmt":  # shares of the training samples: those of siblings add up to 1
        first = saved.hierarchy.levels[1].start
        below, shares = saved.parents[first:], saved.shares[first:]
        of_parents = torch.zeros(len(saved.hierarchy)).index_add(0, below, shares)
        torch.testing.assert_close(of_parents[below], torch.ones(len(below)))
        assert not torch.equal(shares, shares[:1].expand_as(shares))
    nodes = saved.predict(digits.test.inputs).nonzero()[:, 1].view(len(digits.test), -1)
    predicted = [
        run.scores[:, level.start : level.stop].argmax(1) + level.start for level in saved.hierarchy.levels
    ]
    assert np.mean(nodes.numpy() == np.stack(predicted, axis=1)) > 0.999


@needs_torchjd
def test_what_a_rule_remembers_does_not_change_a_resumed_run(tmp_path, digits, monkeypatch):
    """Nash-MTL's memory is too faint to show in a short run, so this rule counts its calls."""

    def counting(method):
        calls = count(1)
        return lambda jacobian: (jacobian.mean(0) / next(calls), torch.ones(len(jacobian)))

    monkeypatch.setattr(baselines, "aggregator", counting)
    constant = {"method": "nash-mtl", "schedule": "none", "protocol": "paper", "batch_size": 128}
    train(small(tmp_path / "whole", epochs=2, **constant), digits)
    train(small(tmp_path / "halves", epochs=1, **constant), digits)
    train(small(tmp_path / "halves", epochs=2, resume=True, **constant), digits)
    whole, halves = load_run(tmp_path / "whole"), load_run(tmp_path / "halves")
    assert np.array_equal(whole.scores, halves.scores)


@needs_torchjd
@each_rule
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, digits, method):
    options = {"method": method, "learning_rate": 1e30, "schedule": "none", "epochs": 2}
    with pytest.raises(FloatingPointError, match=r"epoch 1.*step.*checkpoint"):
        train(small(tmp_path / "run", **options), digits)


@each_rule
def test_a_missing_torchjd_is_one_line(tmp_path, digits, monkeypatch, method):
    monkeypatch.setattr(baselines, "find_spec", lambda name: None if name == "torchjd" else object())
    with pytest.raises(
        ValueError, match=rf"`--method {method}` needs torchjd: pip install hcal\[baselines\]"
    ):
        train(small(tmp_path / "run", method=method), digits)
    assert not (tmp_path / "run" / "config.yaml").exists()  # the same command will do once it is installed


@needs_torchjd
def test_what_combined_gradients_cannot_do_is_refused(tmp_path, digits, monkeypatch):
    run = tmp_path / "run"
    with pytest.raises(ValueError, match="`--mixed-precision` should be no or bf16"):
        baselines.check_aggregation(small(run, method="cagrad", mixed_precision="fp16"))
    with pytest.raises(ValueError, match="`--compile` should be off"):
        baselines.check_aggregation(small(run, method="imtl-g", compile=True))
    monkeypatch.setattr(baselines, "num_processes", lambda: 2)
    with pytest.raises(ValueError, match=r"one process\. Found 2"):
        train(small(run, method="nash-mtl"), digits)
    baselines.check_aggregation(small(run, method="mmoe", compile=True, mixed_precision="fp16"))
