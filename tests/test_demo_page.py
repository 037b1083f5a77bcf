"""The demonstration page in a real browser: it answers what Python answers, plays, scrubs, opens files, and asks no other host for anything."""
import functools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from asl_nb.clips import write_clip
from asl_nb.evaluation import best_guesses
from asl_nb.model import ASLModel, load_model, save_model
from asl_nb.synthetic import Signer, perform

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT/"docs"/"demo"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
for name, extra in (("onnx", "export"), ("onnxscript", "export"), ("onnxruntime", "export"), ("playwright", "check")):
    pytest.importorskip(name, reason=f"needs pip install 'asl_nb[{extra}]'", exc_type=ImportError)
if not (PAGE/"build.py").is_file(): pytest.skip("no docs/demo beside the tests", allow_module_level=True)
if not CHROMIUM: pytest.skip("no Chromium on this machine; install the package chromium", allow_module_level=True)
if not (PAGE/"vendor"/"ort.wasm.min.mjs").is_file(): pytest.skip("onnxruntime-web is not there; run sh docs/vendor_demo.sh", allow_module_level=True)

from playwright.sync_api import sync_playwright  # noqa: E402 (after the skips)

sys.path.insert(0, str(PAGE))
import build  # noqa: E402

CLASSES = ("hello", "thankyou", "please", "happy", "drink", "mom", "sleep", "bye")


def wait_for(page, question, seconds=60):
    "Until a JavaScript expression is true. (Playwright's own way evaluates text inside the page, which the page forbids.)"
    deadline = time.monotonic() + seconds
    while not page.evaluate(question):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {question}; the page says: {page.inner_text('main')}"
        time.sleep(.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "The page with a small model of chance weights."
    folder = tmp_path_factory.mktemp("page")
    for name in ("index.html", "demo.js", "demo.css"): shutil.copy(PAGE/name, folder)
    (folder/"vendor").symlink_to(PAGE/"vendor")
    torch.manual_seed(0)
    model = ASLModel(None, len(CLASSES), max_len=50, dim=16, blocks=("lstm", "conv"), points="hands_and_arms", features=("place", "shape"))
    model.data_kind, model.temperature = "synthetic", .25
    save_model(folder/"model.pth", model, CLASSES)
    build.write_page_data(folder/"model.pth", folder/"data")
    return folder


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(folder):
    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_): pass
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture
def page(browser, address):
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.asked, page.faults = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
    page.goto(address)
    wait_for(page, "window.demo?.ready")
    yield page
    assert page.faults == []
    assert all(url.startswith((address, "data:", "blob:")) for url in page.asked), page.asked
    context.close()


@pytest.fixture(scope="module")
def model(folder): return load_model(folder/"model.pth")


def answer_of(page): return page.evaluate("({logits: demo.answer.logits, frames: demo.answer.frames, guesses: demo.guesses})")


def check(found, model, clip):
    "The page's answer is Python's."
    network, classes = model
    with torch.inference_mode(): logits = network(torch.from_numpy(np.ascontiguousarray(clip))[None])[0]
    np.testing.assert_allclose(found["logits"], logits.numpy(), atol=1e-4)
    expected = best_guesses(logits, classes, temperature=network.temperature)
    assert [guess["sign"] for guess in found["guesses"]] == [guess.sign for guess in expected]
    np.testing.assert_allclose([guess["share"] for guess in found["guesses"]], [guess.probability for guess in expected], atol=1e-3)


def test_every_clip_is_recognised_as_in_python(page, folder, model):
    about = json.loads((folder/"data"/"demo.json").read_text())
    assert len(about["clips"]) == page.locator("#clips option").count() >= 5
    for number, row in enumerate(about["clips"]):
        page.select_option("#clips", str(number))
        wait_for(page, f"demo.clip.sign === {json.dumps(row['sign'])} && !demo.busy && demo.answered === demo.asked")
        clip = np.fromfile(folder/"data"/row["file"], "<f4").reshape(-1, 543, 3)
        assert np.isnan(clip).any() and len(clip) == row["frames"]
        check(answer_of(page), model, clip)
    assert page.locator("#guesses li").count() == 5 and "ms" in page.inner_text("#latency")
    assert page.inner_text("#verdict").startswith("“") and page.is_visible("#warning")


def test_play_scrub_and_guess_from_the_beginning_only(page, folder, model):
    clip = np.fromfile(folder/"data"/"clip0.f32", "<f4").reshape(-1, 543, 3)
    blank = page.evaluate("(c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; return d.every(v => v === 0) })(document.getElementById('stage'))")
    assert not blank  # somebody is drawn
    page.check("#partial")
    for frame in (0, 7):
        page.evaluate(f"(s => {{ s.value = {frame}; s.dispatchEvent(new Event('input')) }})(document.getElementById('frame'))")
        wait_for(page, f"!demo.busy && demo.answer.frames === {frame + 1}")
        check(answer_of(page), model, clip[:frame + 1])
    page.click("#play")
    assert page.inner_text("#play") == "Pause"
    wait_for(page, f"demo.frame === {len(clip) - 1} && !demo.playing")
    wait_for(page, f"!demo.busy && demo.answer.frames === {len(clip)}")
    check(answer_of(page), model, clip)
    assert page.inner_text("#play") == "Play"


def test_a_file_of_ones_own(page, model, tmp_path):
    clip = perform("drink", Signer.random(5))
    write_clip(tmp_path/"mine.parquet", clip)
    subprocess.run([sys.executable, PAGE/"build.py", "clip", tmp_path/"mine.parquet", tmp_path/"mine.json"], check=True, capture_output=True)
    page.set_input_files("#file", tmp_path/"mine.json")
    wait_for(page, "demo.clip.sign === 'mine.json' && !demo.busy && demo.answered === demo.asked")
    assert len(clip) > 0 and page.input_value("#clips") == "own"
    rounded = np.where(np.isnan(clip).any(-1, keepdims=True), np.nan, np.round(clip.astype(float), 5)).astype(np.float32)
    check(answer_of(page), model, rounded)


def test_long_clips_are_thinned(page, model, tmp_path):
    clip = np.resize(perform("drink", Signer.random(5)), (120, 543, 3))
    build.write_clip_json(tmp_path/"long.json", clip)
    page.set_input_files("#file", tmp_path/"long.json")
    wait_for(page, "demo.clip.sign === 'long.json' && !demo.busy && demo.answered === demo.asked")
    assert page.inner_text("#frames") == "120, thinned to 50"


@pytest.mark.parametrize("content, message", [
    ("{", "not JSON"), ("{}", "landmarks is missing"), ('{"landmarks": []}', "landmarks is missing"), ('{"landmarks": [[1, 2]]}', "frame 0 has 2 points"),
    (json.dumps({"landmarks": [["x"]*543]}), "point 0 of frame 0"), (json.dumps({"landmarks": [[]]*3001}), "too many")])
def test_a_bad_file_is_named(page, tmp_path, content, message):
    (tmp_path/"bad.json").write_text(content)
    before = page.inner_text("#verdict")
    page.set_input_files("#file", tmp_path/"bad.json")
    wait_for(page, "!document.getElementById('trouble').hidden")
    assert message in page.inner_text("#trouble") and "bad.json" in page.inner_text("#trouble")
    assert page.inner_text("#verdict") == before


@pytest.mark.parametrize("width, height, scheme", [(1200, 900, "light"), (1200, 900, "dark"), (390, 844, "light"), (320, 700, "dark")])
def test_it_fits_and_can_be_named(browser, address, width, height, scheme, tmp_path):
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    wait_for(page, "window.demo?.ready")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")
    page.get_by_role("button", name="Play").focus()
    page.get_by_role("slider", name="Frame").press("ArrowRight")
    assert page.get_by_label("Sign", exact=True).is_enabled() and page.get_by_role("img").get_attribute("aria-label").startswith("Stick figure, frame")
    pictures = Path(os.environ.get("ASL_NB_SCREENSHOTS", tmp_path))
    pictures.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=pictures/f"demo_{width}_{scheme}.png", full_page=True)
    context.close()


def test_without_its_data_the_page_says_what_to_do(browser, tmp_path):
    for name in ("index.html", "demo.js", "demo.css"): shutil.copy(PAGE/name, tmp_path)
    (tmp_path/"vendor").symlink_to(PAGE/"vendor")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        wait_for(page, "!document.getElementById('trouble').hidden")
        assert "build.py" in page.inner_text("#trouble")
        page.close()
        server.shutdown()


def test_the_folder_is_not_taken_from_others(folder, tmp_path):
    (tmp_path/"mine.txt").touch()
    done = subprocess.run([sys.executable, PAGE/"build.py", "page", "--model", folder/"model.pth", "--out", tmp_path], capture_output=True, text=True)
    assert done.returncode == 2 and "holds something else" in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
