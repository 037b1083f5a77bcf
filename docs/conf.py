"""Sphinx: how the pages that docs/pages.py makes are put together. Everything a page loads is in the site itself."""
from configparser import ConfigParser
from pathlib import Path

HERE = Path(__file__).resolve().parent
settings = ConfigParser()
settings.read(HERE.parent/"settings.ini", encoding="utf-8")
about = settings["DEFAULT"]
project, author, release, copyright = about["title"], about["author"], about["version"], about["copyright"]
html_title = project
extensions = ["myst_nb", "sphinx_design", "sphinx_copybutton", "sphinxcontrib.mermaid", "sphinx.ext.mathjax",
              "sphinx.ext.githubpages"]

nb_execution_mode = "off"  # the notebooks are executed by the tests; here their committed outputs are shown
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "fieldlist", "attrs_inline", "tasklist",
                          "strikethrough", "alert"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
myst_dmath_allow_space = myst_dmath_allow_digits = False  # "$5 and $6" is money
suppress_warnings = ["myst.header", "myst.strikethrough", "mystnb.unknown_mime_type"]

add_module_names = False
toc_object_entries_show_parents = "hide"
maximum_signature_line_length = 70
python_use_unqualified_type_names = True
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*"), ("py:exc", ".*")]  # types in signatures; symbols in prose have to exist

mathjax_path = "vendor/mathjax/tex-chtml.js"
mermaid_use_local = "vendor/mermaid/mermaid.esm.min.mjs"
mermaid_height = "auto"
mermaid_fullscreen = False
mermaid_light_theme = "neutral"

templates_path = [str(HERE/"_templates")]
html_static_path = [str(HERE/"_static")]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_favicon = str(HERE/"_static"/"favicon.svg")
html_show_sourcelink = html_copy_source = False
html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "logo": {"text": project}, "github_url": about["git_url"], "navbar_align": "left", "navbar_center": [],
    "navbar_end": ["theme-switcher", "navbar-icon-links"], "navbar_persistent": ["search-button-field"],
    "search_as_you_type": True,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []}, "article_header_start": [], "show_toc_level": 1,
    "navigation_with_keys": False,  # the arrow keys belong to sliders
    "back_to_top_button": False, "footer_start": ["copyright"], "footer_end": [],
    "pygments_light_style": "github-light-high-contrast", "pygments_dark_style": "github-dark-high-contrast",
}
html_sidebars = {"**": ["contents"], "index": []}
html_context = {"default_mode": "auto"}
