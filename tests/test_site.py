"""The documentation site: built strictly, then opened in a real browser, wide and narrow, light and dark."""
import gzip
import re
import shutil
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT/"docs"
for name, extra in (("sphinx", "docs"), ("myst_nb", "docs"), ("playwright", "check")):
    pytest.importorskip(name, reason=f"needs python setup_venv.py dev {extra}", exc_type=ImportError)
if not (DOCS/"pages.py").is_file(): pytest.skip("no docs beside the tests", allow_module_level=True)
if not (DOCS/"_static"/"vendor"/"ready").is_file():
    pytest.skip("what pages load is not there; run sh docs/vendor_site.sh", allow_module_level=True)

sys.path.insert(0, str(DOCS))
import pages  # noqa: E402

NOTEBOOK_PAGES = [str(path.relative_to(ROOT/"nbs").with_suffix(".html")).replace("index.html", "overview.html")
                  for path in pages.notebook_paths()]
PAGES = ["index.html", *NOTEBOOK_PAGES, "rooms.html", "contributing.html", "changelog.html", "genindex.html"]
UNRENDERED = re.compile(r":::|\{\{<|^#\||\]\(\w|\{py:\w+\}", re.M)


def build(source, out):
    "Run Sphinx as `make docs-pages` does."
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", "-c", DOCS, "-d",
               f"{out}-doctrees", source, out]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The site."
    place = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, DOCS/"signer.py", DOCS/"_static"/"signer.json"], check=True, cwd=ROOT)
    subprocess.run([sys.executable, DOCS/"pages.py", place/"source"], check=True)
    built = build(place/"source", place/"html")
    assert built.returncode == 0, built.stderr
    (place/"html"/"demo").mkdir()
    for path in (DOCS/"demo").glob("*.*"): shutil.copy(path, place/"html"/"demo")
    return place/"html"


@pytest.fixture(scope="module")
def address(site, serve): return serve(site)


@pytest.fixture(scope="module")
def tab(browser, address):
    "One window for all tests, which keeps what pages share, and what went wrong in it since a test began."
    context = browser.new_context()
    context.set_default_timeout(120_000)
    page, faults = context.new_page(), []
    page.on("request",
            lambda request: request.url.startswith((address, "data:", "blob:")) or faults.append(request.url))
    page.on("response", lambda response: response.status < 400 or faults.append(response.url))
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page, faults
    context.close()


@pytest.fixture
def watched(tab):
    "A page that must not complain, and must not ask any other host for anything."
    page, faults = tab
    faults.clear()
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light", reduced_motion="no-preference")
    yield page
    assert not faults


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(watched, address, name):
    watched.goto(address + name)
    diagrams, formulas = watched.locator("pre.mermaid").count(), watched.locator(".math").count()
    if diagrams:
        watched.wait_for_function("n => document.querySelectorAll('pre.mermaid svg').length == n", arg=diagrams)
    if formulas: watched.wait_for_function("n => document.querySelectorAll('mjx-container').length == n", arg=formulas)
    assert not watched.locator("mjx-merror, .error-icon").count()
    text = watched.evaluate("""() => { const article = document.querySelector('article').cloneNode(true);
        article.querySelectorAll('pre, code, script, style, .math, mjx-container').forEach(each => each.remove());
        return article.textContent; }""")
    assert not UNRENDERED.findall(text)
    assert watched.evaluate("[...document.images].every(image => image.complete && image.naturalWidth)")
    for width in (1280, 360):
        watched.set_viewport_size({"width": width, "height": 800})
        fits = watched.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert fits, f"scrolls sideways at {width} pixels"
        cut = watched.evaluate("""[...document.querySelectorAll('article *')]
            .filter(each => each.getBoundingClientRect().right > innerWidth + 1)
            .filter(each => !each.closest('pre, table, .math, .cell_output, .pst-scrollable-table-container, dl.py dt'))
            .map(each => each.outerHTML.slice(0, 80))""")
        assert not cut, f"wider than {width} pixels: {cut[:3]}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "data/01_landmarks.html", "training/10_trainer.html", "rooms.html",
                                  "overview.html", "tutorials/training_guide.html"])
def test_page_is_legible(watched, address, name, scheme):
    watched.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    watched.goto(address + name)
    watched.add_script_tag(path=DOCS/"axe"/"axe.min.js")
    rules = ["color-contrast", "image-alt", "link-name", "button-name", "heading-order", "list"]
    found = watched.evaluate("""rules => axe.run('article', {runOnly: rules}).then(result => result.violations.map(
        each => `${each.id}: ${each.nodes.length} × ${each.nodes[0].html.slice(0, 120)}`))""", rules)
    assert not found


def test_pages_are_light(site):
    for name in PAGES:
        html = (site/name).read_text(encoding="utf-8")
        pictures = {(site/name).parent/unquote(each) for each in re.findall(r'<img[^>]* src="([^":]+)"', html)}
        weight = len(gzip.compress(html.encode())) + sum(path.stat().st_size for path in pictures)
        assert weight < 1_000_000, f"{name}: {weight:,} bytes"


def test_the_button_to_the_demo_is_there_only_with_the_demo(site):
    front = (site/"index.html").read_text(encoding="utf-8")
    assert ("demo/index.html" in front) == (DOCS/"demo"/"data"/"demo.json").exists()


class Anchors(HTMLParser):
    def __init__(self):
        super().__init__()
        self.places, self.links = set(), []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.places |= {given.get("id"), given.get("name")}
        self.links += [link for link in (given.get("href"), given.get("src")) if link]


def test_every_link_leads_somewhere(site):
    parsed = {}
    def read(path):
        if path not in parsed:
            parsed[path] = Anchors()
            parsed[path].feed(path.read_text(encoding="utf-8"))
        return parsed[path]
    dead = []
    for name in PAGES:
        for link in read(site/name).links:
            if re.match(r"[a-z]+:|//", link): continue
            address, anchor = urldefrag(link)
            target = ((site/name).parent/unquote(address.split("?")[0])).resolve() if address else site/name
            if not target.exists() or (anchor and target.suffix == ".html"
                                       and unquote(anchor) not in read(target).places): dead.append((name, link))
    assert not dead


def test_search_finds_functions_and_words(watched, address, site):
    inventory = zlib.decompress((site/"objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    names = [line.split()[0] for line in inventory.splitlines() if " py:function " in line]
    assert len(names) > 100
    queries = [(name.split(".")[-1], f'a[href*="#{name}"]') for name in names[::len(names)//4]]
    for query, wanted in [*queries, ("dilated convolution", 'a[href*="network/06_tcn"]')]:
        watched.goto(f"{address}search.html?q={query}")
        watched.wait_for_selector(f"#search-results {wanted}")


def test_the_front_page_moves_and_its_doors_open(watched, address):
    watched.goto(address)
    picture = "document.getElementById('signer').toDataURL()"
    watched.wait_for_function("document.getElementById('signer-name').textContent == 'hello'")
    before = watched.evaluate(picture)
    watched.wait_for_function(f"before => {picture} != before", arg=before)
    watched.click("#signer-button")
    stopped = watched.evaluate(picture)
    watched.wait_for_timeout(300)
    assert watched.evaluate(picture) == stopped
    for door, behind in enumerate(("00_tour", "train_on_asl_signs", "92_cli")):
        watched.goto(address)
        watched.locator(".doors .sd-card").nth(door).click(position={"x": 20, "y": 20})
        watched.wait_for_url(re.compile(rf"/{behind}\.html$"))


def test_a_player_works_without_a_kernel(watched, address):
    watched.goto(address + "data/03_drawing.html")
    watched.wait_for_selector(".player canvas")
    picture = "document.querySelector('.player canvas').toDataURL()"
    watched.evaluate("""(() => { const slider = document.querySelector('.player input');
        slider.value = 0; slider.oninput(); })()""")
    watched.wait_for_timeout(300)
    before = watched.evaluate(picture)
    watched.locator(".player input").first.press("ArrowRight")
    watched.wait_for_function(f"before => {picture} != before", arg=before)


def test_the_reader_chooses_the_colours(watched, address):
    background = "getComputedStyle(document.body).backgroundColor"
    watched.goto(address + "network/06_tcn.html")
    light = watched.evaluate(background)
    watched.emulate_media(color_scheme="dark")
    watched.wait_for_function(f"light => {background} != light", arg=light)


def test_every_kind_of_fault_fails_the_build(tmp_path):
    source = tmp_path/"source"
    source.mkdir()
    (source/"index.md").write_text("""# A page
[a page](nowhere.md)

[a place](index.md#nowhere)

{py:obj}`asl_nb.nothing`

```{nonsense}
```

![](nothing.png)
""")
    built = build(source, tmp_path/"html")
    assert built.returncode != 0
    faults = [line for line in built.stderr.splitlines() if "index.md:" in line]
    places = ("index.md:2:", "index.md:4:", "index.md:6:", "index.md:8:", "nothing.png")  # of an image it knows no line
    assert len(faults) == len(places) and all(any(place in fault for fault in faults) for place in places), faults


def test_a_symbol_or_a_notebook_that_is_gone_fails_the_build():
    path = ROOT/"nbs"/"data/01_landmarks.ipynb"
    links = pages.Links([])
    with pytest.raises(SystemExit, match="no such symbol"): links.prose("see `asl_nb.data.landmarks.nothing`", path)
    with pytest.raises(SystemExit, match="leads nowhere"): links.prose("see [that](99_nothing.ipynb)", path)
    assert links.prose("see [that](04_clips.ipynb#a)", path) == "see [that](04_clips.ipynb#a)"
    assert links.prose("```\n[that](99_nothing.ipynb)\n```", path) == "```\n[that](99_nothing.ipynb)\n```"
