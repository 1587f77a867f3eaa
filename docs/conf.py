"""Sphinx configuration: `nox -s docs` builds docs/_build/html, and fails on a warning."""

import pkgutil
import re
import sys
from dataclasses import is_dataclass
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

HERE = Path(__file__).parent.resolve()
sys.path.insert(0, str(HERE))

from figures import make_figures  # noqa: E402

PACKAGES = ("hmc_shared", "hcal", "hlstm", "hp_dval", "mulsupcon_ld")

project = "Hierarchical multi-label classification"
author = "The maintainers of this repository"
copyright = f"2026, {author}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.mermaid",
]
exclude_patterns = ["_build", "_figures"]
html_theme = "furo"
html_title = "hmc"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "ignore-module-all": True,
    "exclude-members": "set_score_request, set_fit_request",  # scikit-learn's
}
autodoc_inherit_docstrings = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False

nitpicky = True  # a reference that leads nowhere is a warning ...
nitpick_ignore_regex = [  # ... except to what is imported for type checkers alone, and belongs to others
    ("py:class", r"Tensor|Path|Figure|Axes|Generator|Accelerator|Positional|(np|torch)\..*"),
    ("py:class", r"hmc_shared\.runs\.trackers\.Trackers"),  # part of the run folder, not of the reference
    ("py:(obj|class)", r"(typing|types)\.Annotated\[.*"),  # an option, which its command documents
]

doctest_test_doctest_blocks = ""  # those of docstrings are run by pytest, each in its own module
# Examples find the runs that the pictures are made of.
doctest_global_setup = f"""
import os
import torch
from hmc_shared import Hierarchy
os.chdir({str(HERE / "_figures")!r})
"""


class PlainText:
    """Docstrings are written to be read where they stand, and differ from reStructuredText in two ways.

    |x| is a formula, not a substitution. And the text below a field is text: napoleon would take what stands
    before a colon for its type.
    """

    def before_napoleon(self, app, what, name, obj, options, lines):
        for at, line in enumerate(lines):
            parts = re.split(r"(``.*?``)", line)  # code, at odd places, is taken literally
            lines[at] = "".join(part if i % 2 else part.replace("|", r"\|") for i, part in enumerate(parts))
        self.lines = list(lines)

    def after_napoleon(self, app, what, name, obj, options, lines):
        if what in ("attribute", "data", "property"):
            lines[:] = self.lines


def fields_only(app, what, name, obj, options, signature, returns):
    """Classes of options list their fields: as arguments of the class they would be there twice."""
    if (
        what == "class"
        and is_dataclass(obj)
        and obj.__module__.endswith(("config", "commands", "train_options", "cli.peer"))
    ):
        return "", None
    return None


def without_markers(app, domain, kind, content):
    """Show the type of an option as ``int``, not as ``Annotated[int, Bounds(...)]``."""
    for annotation in content.parent.findall(addnodes.desc_annotation):
        if "Annotated[" in (text := annotation.astext()):
            annotation.clear()
            annotation += nodes.Text(bare_type(text))


def bare_type(text):
    while (start := text.find("Annotated[")) >= 0:
        inside = start + len("Annotated[")
        depth, comma, end = 1, None, inside
        while depth:
            depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(text[end], 0)
            if depth == 1 and text[end] == "," and comma is None:
                comma = end
            end += 1
        text = text[:start] + text[inside:comma] + text[end:]
    return text


def resolve_as_python_does(app, env, node, contnode):
    """Find re-exported and imported names: what the name means in the module that says it."""
    module, owner, target = node.get("py:module"), node.get("py:class"), node.get("reftarget")
    places = [f"{module}:{owner}.{target}", f"{module}:{target}", target]
    for place in places if node.get("refdomain") == "py" else []:
        try:
            found = pkgutil.resolve_name(place)
        except (ImportError, AttributeError, ValueError):
            continue
        home = getattr(found, "__module__", None) or ""
        if not home.startswith(PACKAGES):
            return contnode  # documented elsewhere
        name = f"{home}.{getattr(found, '__qualname__', target)}"
        for documented in (name, name.rpartition(".")[0]):  # a method without a text: its class
            domain = env.get_domain("py")
            link = domain.resolve_xref(env, node["refdoc"], app.builder, "obj", documented, node, contnode)
            if link is not None:
                return link
    return None


def setup(app):
    text = PlainText()
    app.connect("autodoc-process-docstring", text.before_napoleon, priority=1)
    app.connect("autodoc-process-docstring", text.after_napoleon, priority=999)
    app.connect("autodoc-process-signature", fields_only)
    app.connect("object-description-transform", without_markers)
    app.connect("missing-reference", resolve_as_python_does)
    app.connect("builder-inited", lambda app: make_figures(HERE / "_figures"))
