"""Constraint operators against loops over descendants, ancestors and parents, on random DAGs and trees."""

from __future__ import annotations

import doctest
import math
import os
import re
import shutil
import sysconfig
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import hmc_shared.constraints
from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_ancestors, max_over_descendants, min_over_parents
from hmc_shared.testing import DEVICE

Operator = Callable[[Tensor, Hierarchy], Tensor]

EACH = pytest.mark.parametrize("operator", [max_over_descendants, max_over_ancestors, min_over_parents])
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
# The compilers of older torch releases warn about their own insides.
COMPILES = pytest.mark.filterwarnings("ignore")


@st.composite
def hierarchies(draw: st.DrawFn) -> Hierarchy:
    """A random DAG or forest of up to 9 nodes, often without any edge."""
    max_parents = draw(st.integers(1, 3))
    parents: dict[str, list[str]] = {}
    for i in range(draw(st.integers(1, 9))):
        earlier = st.sampled_from(sorted(parents)) if parents else st.nothing()
        parents[f"n{i}"] = draw(st.lists(earlier, unique=True, max_size=max_parents)) if parents else []
    return Hierarchy.from_parents(parents)


@st.composite
def cases(draw: st.DrawFn, nan: bool = True) -> tuple[Tensor, Hierarchy]:
    """Scores of 0 to 3 samples, most of them tied, some infinite or NaN."""
    h = draw(hierarchies())
    values = [-math.inf, -1.0, 0.0, 0.0, 0.5, math.inf] + [math.nan] * nan
    rows = st.lists(st.sampled_from(values), min_size=len(h), max_size=len(h))
    scores = torch.tensor(draw(st.lists(rows, max_size=3)), dtype=draw(st.sampled_from(FLOATS)))
    return scores.reshape(-1, len(h)), h


def distinct_scores(h: Hierarchy, batch: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(len(h), generator=generator) for _ in range(batch)]).double() / 3


def descendants(node: int, h: Hierarchy) -> set[int]:
    return {node}.union(*(descendants(child, h) for child in h.children(node)))


def ancestors(node: int, h: Hierarchy) -> set[int]:
    return {node}.union(*(ancestors(parent, h) for parent in h.parents(node)))


def brute_force(
    operator: Operator, scores: Tensor, h: Hierarchy
) -> tuple[list[list[float]], list[list[int]]]:
    """Results, and the one id that each result is taken from by the rule of the module's docstring."""
    results, sources = [], []
    for row in scores.tolist():
        results.append([])
        sources.append([])
        for node in range(len(h)):
            if operator is max_over_descendants:
                candidates, best = sorted(descendants(node, h)), max
            elif operator is max_over_ancestors:
                candidates, best = sorted(ancestors(node, h), reverse=True), max
            else:
                candidates, best = [node, *sorted(h.parents(node), reverse=True)], min
            has_nan = any(math.isnan(row[i]) for i in candidates)
            result = math.nan if has_nan else best(row[i] for i in candidates)
            results[-1].append(result)
            if has_nan:  # a NaN equals nothing, itself included: min_over_parents leaves it with the node
                nans = [i for i in candidates if math.isnan(row[i])]
                sources[-1].append(node if operator is min_over_parents else nans[0])
            else:
                sources[-1].append(next(i for i in candidates if row[i] == result))
    return results, sources


def with_gradient(operator: Operator, scores: Tensor, h: Hierarchy, weights: Tensor) -> tuple[Tensor, Tensor]:
    leaf = scores.detach().clone().requires_grad_()
    result = operator(leaf, h)
    result.backward(weights)
    assert leaf.grad is not None
    return result.detach(), leaf.grad


def assert_identical(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


# Values


@EACH
@given(case=cases())
def test_values_are_those_of_the_loop(operator: Operator, case: tuple[Tensor, Hierarchy]) -> None:
    scores, h = case
    before = scores.clone()
    results, _ = brute_force(operator, scores, h)
    expected = torch.tensor(results, dtype=scores.dtype).reshape(scores.shape)
    assert_identical(operator(scores, h), expected)
    assert_identical(operator(scores.clone().requires_grad_(), h).detach(), expected)
    assert_identical(scores, before)


@EACH
@pytest.mark.parametrize("batch", [1, 3])
def test_any_memory_layout_is_read_and_none_written(operator: Operator, batch: int) -> None:
    h = Hierarchy.from_paths(["a/b/c", "a/d", "e"])
    plain = distinct_scores(h, batch)
    columns_first = plain.T.contiguous().T
    strided = plain.repeat_interleave(2, dim=1)[:, ::2]
    for scores in (plain, columns_first, strided):
        before = scores.clone()
        result = operator(scores, h)
        assert_identical(result, operator(before, h))
        assert_identical(scores, before)
        assert result.is_contiguous()
        assert result.data_ptr() != scores.data_ptr()


@given(cases(nan=False))
def test_the_maximum_is_coherent_and_idempotent(case: tuple[Tensor, Hierarchy]) -> None:
    scores, h = case
    result = max_over_descendants(scores, h)
    parents, children = h.edges.unbind(1)
    assert (result[:, children] <= result[:, parents]).all()
    assert (result >= scores).all()
    assert_identical(max_over_descendants(result, h), result)


@given(cases(nan=False))
def test_the_maximum_over_ancestors_is_that_over_descendants_of_the_hierarchy_upside_down(
    case: tuple[Tensor, Hierarchy],
) -> None:
    scores, h = case
    nodes = [h.names[i] for i in range(len(h))]
    upside_down = Hierarchy.from_edges([(nodes[c], nodes[p]) for p, c in h.edges.tolist()], nodes=nodes)
    there = torch.tensor([nodes.index(name) for name in upside_down.names])
    expected = torch.empty_like(scores)
    expected[:, there] = max_over_descendants(scores[:, there], upside_down)
    assert_identical(max_over_ancestors(scores, h), expected)


@given(cases(nan=False))
def test_rounds_of_the_minimum_end_at_the_minimum_over_ancestors(case: tuple[Tensor, Hierarchy]) -> None:
    scores, h = case
    result = scores
    for _ in range(h.num_levels - 1):
        result = min_over_parents(result, h)
    for node in range(len(h)):
        assert_identical(result[:, node], scores[:, h.ancestors[node]].amin(1))
    assert_identical(min_over_parents(result, h), result)


@EACH
def test_constraints_commute_with_the_sigmoid(operator: Operator) -> None:
    h = Hierarchy.from_parents({"a": None, "b": "a", "c": ["a", "b"], "d": "a", "e": ["c", "d"]})
    logits = 3 * distinct_scores(h, batch=8)
    assert_identical(operator(logits, h).sigmoid(), operator(logits.sigmoid(), h))


@EACH
@pytest.mark.parametrize("dtype", FLOATS)
def test_without_edges_nothing_changes(operator: Operator, dtype: torch.dtype) -> None:
    h = Hierarchy.from_edges([], nodes=["a", "b", "c"])
    scores, weights = distinct_scores(h).to(dtype), distinct_scores(h, seed=1).to(dtype)
    result, grad = with_gradient(operator, scores, h, weights)
    assert_identical(result, scores)
    assert_identical(grad, weights)


# Gradients


@EACH
@given(case=cases(), seed=st.integers(0, 2**32 - 1))
def test_each_gradient_goes_to_the_one_source_of_its_result(
    operator: Operator, case: tuple[Tensor, Hierarchy], seed: int
) -> None:
    scores, h = case
    # Small integers: sums are exact in every dtype.
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randint(-5, 6, scores.shape, generator=generator).to(scores.dtype)
    _, grad = with_gradient(operator, scores, h, weights)
    expected = torch.zeros_like(scores)
    for b, sources in enumerate(brute_force(operator, scores, h)[1]):
        for node, source in enumerate(sources):
            expected[b, source] += weights[b, node]
    assert_identical(grad, expected)
    assert_identical(grad.sum(1), weights.sum(1))


@EACH
@given(h=hierarchies(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_gradients_of_first_and_second_order_where_no_scores_tie(
    operator: Operator, h: Hierarchy, seed: int
) -> None:
    scores = distinct_scores(h, seed=seed).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: operator(s, h), scores)
    assert torch.autograd.gradgradcheck(lambda s: operator(s, h).sin(), scores)


@pytest.mark.parametrize("device", ["cpu", pytest.param(DEVICE, marks=pytest.mark.cuda, id="cuda")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_of_many_half_precision_gradients_do_not_stall(dtype: torch.dtype, device: str) -> None:
    """One by one, 1 added to 256 is 256 in bfloat16."""
    chain = Hierarchy.from_edges((str(i), str(i + 1)) for i in range(999))
    scores = torch.zeros(3, 1000, dtype=dtype, device=device)
    scores[:, -1] = 1
    _, grad = with_gradient(max_over_descendants, scores, chain, torch.ones_like(scores))
    assert grad[:, -1].tolist() == [1000.0] * 3


@EACH
def test_scores_that_need_no_gradient_get_none(operator: Operator) -> None:
    h = Hierarchy.from_paths(["a/b"])
    assert not operator(torch.zeros(1, 2), h).requires_grad
    with torch.no_grad():
        assert not operator(torch.zeros(1, 2, requires_grad=True), h).requires_grad


# Precision, compilation, devices


@EACH
def test_autocast_changes_neither_values_nor_dtype(operator: Operator) -> None:
    h = Hierarchy.from_parents({"a": None, "b": "a", "c": ["a", "b"]})
    scores, weights = distinct_scores(h).float(), distinct_scores(h, seed=1).float()
    expected = with_gradient(operator, scores, h, weights)
    linear = torch.nn.Linear(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for actual, wanted in zip(with_gradient(operator, scores, h, weights), expected, strict=True):
            assert_identical(actual, wanted)
        result = operator(linear(torch.ones(2, 4)), h)
        assert result.dtype == torch.bfloat16
    result.sum().backward()
    assert linear.bias.grad.sum() == result.numel()


def compiled_equals_eager(operator: Operator, backend: str, cases: list[tuple[Hierarchy, Tensor]]) -> None:
    torch.compiler.reset()
    compiled = torch.compile(operator, fullgraph=True, backend=backend)
    for h, scores in cases:
        weights = scores.flip(1)
        expected = with_gradient(operator, scores, h, weights)
        for actual, wanted in zip(with_gradient(compiled, scores, h, weights), expected, strict=True):
            assert_identical(actual, wanted)


def compile_cases() -> list[tuple[Hierarchy, Tensor]]:
    """Another batch size with tied scores, then half precision and another hierarchy of the same size."""
    h = Hierarchy.from_parents({"a": None, "b": "a", "c": ["a", "b"], "d": "a", "e": ["c", "d"]})
    chain = Hierarchy.from_paths(["a/b/c/d/e"])
    scores = distinct_scores(h, batch=7)
    return [(h, scores[:4].float()), (h, scores.round().float()), (chain, scores.bfloat16())]


@COMPILES
@EACH
def test_compiled_graph_equals_eager(operator: Operator) -> None:
    compiled_equals_eager(operator, "aot_eager", compile_cases())


def missing_for_inductor() -> str | None:
    if not shutil.which(os.environ.get("CXX", "g++")):
        return "a C++ compiler"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "the headers of Python"
    return None if find_spec("setuptools") else "setuptools"


@COMPILES
@pytest.mark.skipif(missing_for_inductor() is not None, reason=f"inductor needs {missing_for_inductor()}")
def test_compiled_code_equals_eager() -> None:
    compiled_equals_eager(max_over_descendants, "inductor", compile_cases()[:1])


@pytest.mark.cuda
@EACH
@given(case=cases(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_cuda_equals_cpu(operator: Operator, case: tuple[Tensor, Hierarchy], seed: int) -> None:
    scores, h = case
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randint(-5, 6, scores.shape, generator=generator).to(scores.dtype)
    expected = with_gradient(operator, scores, h, weights)
    for actual, wanted in zip(
        with_gradient(operator, scores.to(DEVICE), h, weights.to(DEVICE)), expected, strict=True
    ):
        assert actual.device.type == DEVICE
        assert_identical(actual.cpu(), wanted)


@pytest.mark.cuda
@COMPILES
@EACH
def test_compiled_cuda_graph_equals_eager(operator: Operator) -> None:
    cases = [(h.to(DEVICE), scores.to(DEVICE)) for h, scores in compile_cases()]
    compiled_equals_eager(operator, "aot_eager", cases)


# Memory


class LargestTensor(TorchDispatchMode):
    """Number of elements of the largest tensor that any operation makes; expanded views count in full."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0
        self.operations: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations.add(str(func.overloadpacket))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


@EACH
def test_no_tensor_is_larger_than_the_batch_times_nodes_and_edges(operator: Operator) -> None:
    """A (batch, C, C) tensor would be 200 times the batch times C."""
    edges = {(str(i // 2), str(i)) for i in range(1, 200)} | {(str(i // 3), str(i)) for i in range(1, 200)}
    h = Hierarchy.from_edges(sorted(edges))
    scores = torch.randn(4, len(h), requires_grad=True)
    with LargestTensor() as largest:
        operator(scores, h).sum().backward()
    assert "aten.scatter_add_" in largest.operations  # the backward pass was seen
    assert 4 * len(h) <= largest.numel <= 4 * (len(h) + len(h.edges))


# Errors and documentation


@EACH
@pytest.mark.parametrize("shape", [(3,), (2, 4), (3, 2), (1, 2, 3)])
def test_scores_of_another_shape_are_refused(operator: Operator, shape: tuple[int, ...]) -> None:
    message = f"`scores` should have shape (batch, 3). Found {shape}."
    with pytest.raises(ValueError, match=re.escape(message)):
        operator(torch.zeros(shape), Hierarchy.from_paths(["a/b", "c"]))


@EACH
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_scores_that_are_not_floating_point_are_refused(operator: Operator, dtype: torch.dtype) -> None:
    message = f"`scores` should be floating point. Found {dtype}."
    with pytest.raises(ValueError, match=re.escape(message)):
        operator(torch.zeros(2, 3, dtype=dtype), Hierarchy.from_paths(["a/b", "c"]))


def test_the_examples_of_the_documentation() -> None:
    result = doctest.testmod(hmc_shared.constraints)
    assert result.attempted > 0
    assert result.failed == 0
