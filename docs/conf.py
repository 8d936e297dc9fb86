"""What Sphinx makes the pages of: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

# The checkout that these pages describe, not another fastconv that may be installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import fastconv

project = "fastconv"
copyright = "the fastconv authors"
version = release = fastconv.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.doctest",
    "matplotlib.sphinxext.plot_directive",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"fastconv {release}"
html_static_path = ["_static"]
html_css_files = ["fastconv.css"]
html_theme_options = {"navigation_with_keys": True}

# The docstrings are Google's kind. Members come in the order of the source, which is the order in
# which they are to be read.
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False

# Names of other projects, whose inventories would have to be fetched from the network.
nitpick_ignore_regex = [
    ("py:.*", r"(torch|collections|typing)\..*"),
    ("py:class", r"(Any|Callable|Iterable|Sequence|Tensor|Size2)"),
    ("py:class", r"fastconv\._\w+\.Model"),
    ("py:class", r"(bool|dict|float|int|str|tuple|TracebackType|BaseException)"),
    ("py:exc", r"(RuntimeError|TypeError|ValueError)"),
]

# Each sample of a page is run in one namespace for the page, with the same random numbers each
# time: `sphinx -b doctest`, which tests/test_docs.py calls.
doctest_global_setup = """
import numpy as np
import torch
import fastconv
torch.manual_seed(0)
"""
trim_doctest_flags = True

# Figures are drawn by the scripts in figures/ whenever the pages are built.
plot_formats = ["svg"]
plot_include_source = False
plot_html_show_source_link = False
plot_html_show_formats = False
