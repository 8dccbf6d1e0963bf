"""How the site is built: ``python -m sphinx -W --keep-going -n docs build/site``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "_ext")]

from reweight import __version__  # noqa: E402 - of this very folder

project = "reweight"
author = "the reweight contributors"
project_copyright = author
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "gallery",
    "prose_returns",
    "public_names",
    "integrations",
    "source_pages",
]
exclude_patterns = ["_ext"]
if not (ROOT / "CONTRIBUTING.md").exists():  # which the page consists of
    exclude_patterns.append("contributing.*")

# Pages are Markdown that reads well on a repository's site too. Anchors are made as there.
myst_heading_anchors = 3

# The reference: types beside the arguments, so that signatures stay short.
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # those of a framework speak of the framework's own pages
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
maximum_signature_line_length = 72
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# No inventory is fetched, so that the site builds without a network: names of other projects are
# shown and not linked. ``public_names`` links what is public here under its private path.
nitpicky = True
suppress_warnings = ["toc.excluded"]  # contributing.md, where there is nothing to include
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(accelerate|cleanlab|collections|datasets|ignite|lightning|lightning_fabric|logging|monai|"
        r"nn|np|numpy|os|pandas|pathlib|pd|peft|pytorch_lightning|sklearn|torch|torchopt|"
        r"transformers|trl|types|typing|typing_extensions)(\..*)?",
    ),
    # What Python has built in, or its standard library under its short name.
    (
        r"py:(class|exc|obj|data)",
        r"(Any|Callable|Iterable|Iterator|Mapping|NoneType|Path|Protocol|Sequence|Tensor|"
        r"bool|bytes|dict|float|int|list|None|object|optional|set|str|tuple|type|"
        r"[A-Z][a-z]+Error|Exception|UserWarning)",
    ),
    (r"py:class", r"Term"),  # a part of a mixture, which is made by arithmetic
    # Type variables have no entry of their own.
    (r"py:.*", r"(reweight\.paired\.)?(Noisy|Trusted)"),
]

html_theme = "furo"
html_title = f"reweight {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "sidebar_hide_name": False,
    "light_css_variables": {
        "color-brand-primary": "#0f6e6e",
        "color-brand-content": "#0f6e6e",
        "color-brand-visited": "#0f6e6e",
        "color-api-name": "#0f6e6e",
        "color-api-pre-name": "#0f6e6e",
    },
    "dark_css_variables": {
        "color-brand-primary": "#5cc8c0",
        "color-brand-content": "#5cc8c0",
        "color-brand-visited": "#5cc8c0",
        "color-api-name": "#5cc8c0",
        "color-api-pre-name": "#5cc8c0",
    },
}
