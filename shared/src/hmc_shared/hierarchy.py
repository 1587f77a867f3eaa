"""An immutable labelled tree or DAG of classes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from hmc_shared.graph_depth import longest_path_depth
from hmc_shared.indicators import as_indicators
from hmc_shared.messages import listed, shown

if TYPE_CHECKING:
    import networkx

Edge = tuple[str, str]
Item = TypeVar("Item")
Targets = TypeVar("Targets", np.ndarray, Tensor)
MAX_PARTS = 1000
"""Of a label path: names of classes are whole paths, so their length grows with the square of the depth."""


class Hierarchy:
    """Classes as named nodes with integer ids, joined by edges from parent to child.

    Ids run from 0 to C-1, sorted by depth (longest path from a root) and, inside a depth, by first
    appearance. So parents come before children, and every level is a contiguous range of ids. There is
    no virtual root: a forest has several roots. Build one with a ``from_...`` constructor.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog", "plant"])
    >>> h.names
    ('animal', 'plant', 'animal/cat', 'animal/dog')
    >>> print(h)
    animal
    ├── animal/cat
    └── animal/dog
    plant
    """

    names: tuple[str, ...]
    edges: Tensor
    """(E, 2) int64: parent id, child id; sorted by child, then parent."""
    _elsewhere: dict[torch.device, Hierarchy]

    def __init__(self, names: tuple[str, ...], edges: Tensor) -> None:
        self.__dict__.update(names=names, edges=edges, _elsewhere={})
        _ = self.edges_bottom_up  # now: torch.compile can read it, but not trace how it is made

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"A Hierarchy is immutable: cannot set {name!r}.")

    # Constructors

    @classmethod
    def from_edges(cls, edges: Iterable[Edge], nodes: Iterable[str] = ()) -> Hierarchy:
        """Build from (parent, child) pairs of names.

        If ``nodes`` is given it lists every node (so nodes without an edge are possible), and an edge may
        name no other. Raises ValueError, naming the nodes, for a cycle, a node or edge given twice, an
        unknown parent or child, an empty name, and for no node at all.
        """
        edges, declared = list(edges), list(nodes)
        for edge in edges:
            if isinstance(edge, str) or len(edge) != 2:
                raise ValueError(f"An edge should be a (parent, child) pair. Found {shown(edge)}.")
        names: list[object] = [*declared, *(end for edge in edges for end in edge)]
        for name in names:
            if not isinstance(name, str) or not name:
                raise ValueError(f"A node name should be a non-empty string. Found {shown(name)}.")
        declared = [str(name) for name in declared]  # numpy has a type of its own
        edges = [(str(parent), str(child)) for parent, child in edges]
        _refuse_repeats(declared, "node", str)
        _refuse_repeats(edges, "edge", lambda edge: f"{edge[0]!r} -> {edge[1]!r}")
        known = set(declared)
        for parent, child in edges if declared else ():
            for role, name in (("parent", parent), ("child", child)):
                if name not in known:
                    raise ValueError(f"Unknown {role} {shown(name)} in the edge {parent!r} -> {child!r}.")
        order = list(dict.fromkeys(declared or (end for edge in edges for end in edge)))
        if not order:
            raise ValueError("A hierarchy should have at least one node. Found none.")
        depth = longest_path_depth(order, edges)
        order.sort(key=depth.__getitem__)  # stable: first appearance inside a level
        index = {name: i for i, name in enumerate(order)}
        ids = sorted(((index[parent], index[child]) for parent, child in edges), key=lambda edge: edge[::-1])
        return cls(tuple(order), torch.tensor(ids, dtype=torch.int64).reshape(-1, 2))

    @classmethod
    def from_parents(cls, parents: Mapping[str, str | Sequence[str] | None]) -> Hierarchy:
        """Build from a mapping of every node to its parent, its parents, or None for a root.

        >>> Hierarchy.from_parents({"thing": None, "cat": "thing", "robocat": ["thing", "cat"]}).num_levels
        3
        """
        above = {node: [names] if isinstance(names, str) else names or () for node, names in parents.items()}
        return cls.from_edges([(parent, node) for node in above for parent in above[node]], nodes=parents)

    @classmethod
    def from_paths(cls, paths: Iterable[str], sep: str = "/") -> Hierarchy:
        """Build a tree from label paths such as ``"a/b/c"``; paths may repeat and share prefixes.

        The name of a node is its whole path, so equal last parts under different parents stay apart.
        """
        return cls._from_parts((path.split(sep) for path in dict.fromkeys(paths)), sep.join)

    @classmethod
    def from_levels(
        cls, matrix: Sequence[Sequence[object]] | np.ndarray, *, qualify: bool = False
    ) -> Hierarchy:
        """Build a tree from a level matrix: (n, levels) labels, one row a sample, coarse to fine.

        A path may end early (None, NaN or ""). Labels are the node names, so one label under two parents,
        or in two levels, is a ValueError; with ``qualify`` the name is the path, joined by "/".

        >>> Hierarchy.from_levels([["animal", "cat"], ["animal", "dog"], ["plant", None]]).is_tree
        True
        """
        rows, matrix = [], np.asarray(matrix, dtype=object)
        if matrix.ndim != 2:
            raise ValueError(f"`matrix` should have shape (n, levels). Found {matrix.shape}.")
        for number, row in enumerate(matrix):
            parts = ["" if label is None or label != label else str(label) for label in row]  # NaN != NaN
            length = next((i for i, part in enumerate(parts) if not part), len(parts))
            if any(parts[length:]):
                raise ValueError(f"Row {number} of the level matrix has a gap: {shown(parts, 200)}.")
            rows.append(parts[:length])
        if qualify:
            return cls._from_parts(rows, "/".join, "labels should have no '/'.")
        remedy = "pass qualify=True to name classes by their path (no '/' in labels then)."
        return cls._from_parts(rows, lambda parts: parts[-1], remedy)

    @classmethod
    def from_folder(cls, path: str | Path) -> Hierarchy:
        """Build a tree from nested folders, hidden ones left out; a name is the path below ``path``."""
        root = Path(path)
        if not root.is_dir():
            raise ValueError(f"{root} should be a folder of nested class folders. Found no folder there.")
        folders = sorted(p.relative_to(root) for p in root.rglob("*") if p.is_dir())
        paths = [p.as_posix() for p in folders if not any(part.startswith(".") for part in p.parts)]
        if not paths:
            raise ValueError(f"{root} should hold one folder for each class. Found no folder in it.")
        return cls.from_paths(paths)

    @classmethod
    def from_networkx(cls, graph: networkx.Graph[Any]) -> Hierarchy:
        """Build from a directed graph of networkx whose edges point from parent to child; nodes become text.

        Several edges between the same nodes, as relations of an ontology in a ``MultiDiGraph``, are one.
        Edges that point from child to parent, as obonet reads them, need ``graph.reverse()``. Raises
        ValueError as :meth:`from_edges` does, for an undirected graph, and for nodes such as 0 and "0".
        """
        if not graph.is_directed():
            raise ValueError("`graph` should be directed, from parent to child. Found an undirected graph.")
        node_of: dict[str, object] = {}
        for node in graph.nodes:
            if (other := node_of.setdefault(str(node), node)) is not node:
                raise ValueError(f"The nodes {shown(other)} and {shown(node)} of `graph` have one text.")
        edges = dict.fromkeys((str(a), str(b)) for a, b in graph.edges())
        return cls.from_edges(edges, nodes=node_of)

    @classmethod
    def from_json(cls, text: str) -> Hierarchy:
        """Read what :meth:`to_json` wrote. Raises ValueError for anything else."""
        try:
            content = json.loads(text)
            names, edges = content["nodes"], content["edges"]
            pairs = [(names[parent], names[child]) for parent, child in edges]
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"Not the JSON of a hierarchy, nodes and id pairs: {error}") from error
        hierarchy = cls.from_edges(pairs, nodes=names)
        # Scores stored beside the JSON have one column for each id: no other order may pass.
        if [list(hierarchy.names), hierarchy.edges.tolist()] != [names, edges]:
            raise ValueError("Not the JSON of a hierarchy: nodes should be in id order, edges by child.")
        return hierarchy

    @classmethod
    def _from_parts(
        cls, rows: Iterable[list[str]], name_of: Callable[[list[str]], str], remedy: str = ""
    ) -> Hierarchy:
        """Tree over label paths given as lists of parts; ``name_of`` gives the name of a path."""
        path_of: dict[str, list[str]] = {}
        edges: dict[Edge, None] = {}
        for parts in rows:
            if not all(parts):
                raise ValueError(f"A label path should have no empty part. Found {shown('/'.join(parts))}.")
            if len(parts) > MAX_PARTS:
                raise ValueError(f"A label path should have {MAX_PARTS} parts or fewer. Found {len(parts)}.")
            paths = [parts[: end + 1] for end in range(len(parts))]
            for path in paths:
                if (other := path_of.setdefault(name_of(path), path)) != path:
                    two = f"two classes, {shown(other, 200)} and {shown(path, 200)}"
                    raise ValueError(f"The name {shown(name_of(path))} stands for {two}: {remedy}")
            edges.update(dict.fromkeys(pairwise(map(name_of, paths))))
        return cls.from_edges(edges, nodes=path_of)

    # Structure

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def index(self) -> dict[str, int]:
        """Name to id."""
        return {name: i for i, name in enumerate(self.names)}

    def parents(self, node: int) -> list[int]:
        return self.parent_ids[self.parent_ptr[node] : self.parent_ptr[node + 1]].tolist()

    def children(self, node: int) -> list[int]:
        return self.child_ids[self.child_ptr[node] : self.child_ptr[node + 1]].tolist()

    @cached_property
    def parent_ptr(self) -> Tensor:
        """(C + 1,) int64: the parents of i are ``parent_ids[parent_ptr[i]:parent_ptr[i + 1]]``."""
        return _pointers(self.edges[:, 1], len(self))

    @property
    def parent_ids(self) -> Tensor:
        return self.edges[:, 0]

    @cached_property
    def child_ptr(self) -> Tensor:
        """(C + 1,) int64: the children of i are ``child_ids[child_ptr[i]:child_ptr[i + 1]]``."""
        return _pointers(self.edges[:, 0], len(self))

    @cached_property
    def child_ids(self) -> Tensor:
        return self.edges[torch.argsort(self.edges[:, 0], stable=True), 1]

    @cached_property
    def depth(self) -> Tensor:
        """(C,) int64: number of edges on the longest path from a root; 0 for roots."""
        depth = [0] * len(self)
        for parent, child in self.edges.tolist():  # sorted by child: a parent's depth is final
            depth[child] = max(depth[child], depth[parent] + 1)
        return torch.tensor(depth, device=self.edges.device)

    @cached_property
    def levels(self) -> tuple[range, ...]:
        """The ids of every depth, from the roots down."""
        starts = [0, *torch.bincount(self.depth).cumsum(0).tolist()]
        return tuple(map(range, starts, starts[1:]))

    @property
    def num_levels(self) -> int:
        return len(self.levels)

    @cached_property
    def roots(self) -> Tensor:
        return (self.parent_ptr.diff() == 0).nonzero().squeeze(1)

    @cached_property
    def leaves(self) -> Tensor:
        return (self.child_ptr.diff() == 0).nonzero().squeeze(1)

    @cached_property
    def is_tree(self) -> bool:
        """Whether no node has two parents (a forest counts)."""
        return bool((self.parent_ptr.diff() <= 1).all())

    @cached_property
    def edges_bottom_up(self) -> tuple[tuple[Tensor, ...], ...]:
        """Edges as (parents, children) id tensors, grouped by the child's depth, deepest first.

        In this order a child is final before it is passed to its parents.
        """
        # Ids ascend with depth and edges are sorted by child: those of a level stand together.
        sizes = torch.bincount(self.depth[self.edges[:, 1]], minlength=self.num_levels).tolist()
        of_level = self.edges.split(sizes)[:0:-1]  # none lead to roots
        # Clones, not views: torch.export saves each with its own storage.
        return tuple(tuple(ids.clone() for ids in edges.unbind(1)) for edges in of_level)

    @cached_property
    def ancestors(self) -> Tensor:
        """(C, C) bool: whether j is i or an ancestor of i (row i, column j).

        For some classes only, :meth:`ancestors_of` and :meth:`path_to` take less memory.
        """
        return self.ancestors_of(torch.arange(len(self), device=self.edges.device))

    def ancestors_of(self, nodes: Tensor) -> Tensor:
        """(n, C) bool: the label sets of n nodes (n,) int64, each with its ancestors."""
        targets = torch.zeros(len(nodes), len(self), dtype=torch.bool, device=nodes.device)
        return self.add_ancestors(targets.scatter_(1, nodes[:, None], True))

    def path_to(self, node: int) -> list[int]:
        """The ids of a node and its ancestors, ascending: ancestors before descendants."""
        found, waiting = {node}, [node]
        while waiting:
            above = set(self.parents(waiting.pop())) - found
            found |= above
            waiting += above
        return sorted(found)

    # Label sets: (n, C) of bool, or of the numbers 0 and 1; ValueError for another shape or value

    def add_ancestors(self, targets: Targets) -> Targets:
        """Add all ancestors to label sets: (n, C) in, (n, C) bool of the same kind out."""
        if isinstance(targets, np.ndarray):
            return self.add_ancestors(as_indicators(targets, self.names)).numpy()
        nodes_first = as_indicators(targets, self.names).T.clone(memory_format=torch.contiguous_format)
        for parents, children in self.to(targets.device).edges_bottom_up:
            edge, sample = nodes_first[children].nonzero(as_tuple=True)
            nodes_first[parents[edge], sample] = True
        return nodes_first.T.contiguous()

    def has_ancestors(self, targets: np.ndarray | Tensor) -> bool:
        """Whether every label set (n, C) holds the parents of its classes."""
        present = as_indicators(targets, self.names).T.contiguous()  # one index moves a row of samples
        parents, children = self.to(present.device).edges.unbind(1)
        return not bool((present[children] & ~present[parents]).any())

    def most_specific(self, targets: Targets) -> Targets:
        """Keep the classes that have no child in the set: (n, C) in, (n, C) bool of the same kind out."""
        if isinstance(targets, np.ndarray):
            return self.most_specific(as_indicators(targets, self.names)).numpy()
        specific = as_indicators(targets, self.names).clone()
        parents, children = self.to(targets.device).edges.unbind(1)
        sample, edge = specific[:, children].nonzero(as_tuple=True)
        specific[sample, parents[edge]] = False
        return specific

    # Exchange

    def to(self, device: torch.device | str) -> Hierarchy:
        """The same hierarchy with its tensors on ``device``, made once: call before torch.compile traces."""
        device = torch.device(device)
        if device == self.edges.device:
            return self
        if device not in self._elsewhere:
            self._elsewhere[device] = Hierarchy(self.names, self.edges.to(device))
        return self._elsewhere[device]

    def to_json(self) -> str:
        """One line of JSON: node names in id order, edges as pairs of ids."""
        return json.dumps({"nodes": list(self.names), "edges": self.edges.tolist()}, ensure_ascii=False)

    def to_networkx(self) -> networkx.DiGraph[str]:
        """A ``networkx.DiGraph`` with names as nodes, in id order, and edges from parent to child."""
        import networkx  # takes nearly a second, and nothing else here needs it

        graph = networkx.DiGraph()
        graph.add_nodes_from(self.names)
        graph.add_edges_from((self.names[a], self.names[b]) for a, b in self.edges.tolist())
        return graph

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of :meth:`to_json`: equal for equal names, ids and edges."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hierarchy) and self.checksum == other.checksum

    def __hash__(self) -> int:
        return hash(self.checksum)

    def __repr__(self) -> str:
        kind = "tree" if self.is_tree else "DAG"
        return f"Hierarchy({kind}, {len(self)} nodes, {len(self.edges)} edges, {self.num_levels} levels)"

    def __str__(self) -> str:
        return "\n".join(self._draw())

    def _draw(self, limit: int = 200) -> Iterator[str]:
        """Lines of the drawing; a node with several parents stands below its first, naming the others."""
        stack = [(int(root), "", "") for root in self.roots.tolist()[::-1]]
        for _ in range(limit):
            if not stack:
                return
            node, branch, indent = stack.pop()
            others = [self.names[parent] for parent in self.parents(node)[1:]]
            yield branch + self.names[node] + (f" (also below {', '.join(others)})" if others else "")
            below = [child for child in self.children(node) if self.parents(child)[0] == node]
            for child in below[::-1]:
                step, gap = ("└── ", "    ") if child == below[-1] else ("├── ", "│   ")
                stack.append((child, indent + step, indent + gap))
        if stack:
            yield f"... and {len(self) - limit} more nodes"


def _refuse_repeats(items: Sequence[Item], what: str, text_of: Callable[[Item], str]) -> None:
    repeated = [text_of(item) for item, count in Counter(items).items() if count > 1]
    if repeated:
        raise ValueError(f"Each {what} should be given once. Found again: {listed(repeated, 5)}.")


def _pointers(owners: Tensor, size: int) -> Tensor:
    """CSR row pointers from the owner of each entry."""
    counts = torch.bincount(owners, minlength=size)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
