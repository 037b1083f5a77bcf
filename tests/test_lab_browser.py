"""Tutorials in JupyterLab, in a real browser: every cell runs, and a slider moved by hand changes the image."""
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

for name, extra in (("jupyterlab", "dev"), ("playwright", "check")):
    pytest.importorskip(name, reason=f"needs python setup_venv.py dev {extra}")

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ROOT/"nbs"/"tutorials"
CELLS = """() => { const panel = window.jupyterapp?.shell.currentWidget;
    const cells = [...(panel?.content?.model?.cells ?? [])];
    return cells.filter(cell => cell.type === "code" && cell.sharedModel.getSource().trim()); }"""
READY = f"""() => ({CELLS})().length && (context => context.isReady && context.session?.kernel?.status === 'idle')(
    jupyterapp.shell.currentWidget.sessionContext)"""
FINISHED = f"() => {{ const cells = ({CELLS})(); \
    return cells.length && cells.every(cell => cell.executionCount !== null) \
    && jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'; }}"
FAULTS = f"""() => ({CELLS})().flatMap(cell => cell.sharedModel.getOutputs())
    .filter(output => output.output_type === 'error').map(error => error.ename + ': ' + error.evalue)"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "The address of a JupyterLab with the tutorials, in a folder and a home of its own."
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(TUTORIALS, folder/"tutorials", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "my_signs"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = {name: str(folder/name.lower())
            for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
                               "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1",
        "--IdentityProvider.token=", "--ServerApp.password=", "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--ServerApp.root_dir={folder}"], env={**os.environ, **home, "PYTHONPATH": str(ROOT)}, cwd=folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while True:
            try: urllib.request.urlopen(f"{address}/api/status", timeout=5).close()
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline, "JupyterLab did not start"
                time.sleep(.2)
            else: break
        yield address
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def open_and_run(lab, browser):
    "Opens a tutorial, runs all cells, and gives its page back when the last one has finished without an error."
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page, outside = context.new_page(), []
    page.on("request", lambda request: request.url.startswith((lab, "data:", "blob:")) or outside.append(request.url))
    def start(name, seconds):
        page.goto(f"{lab}/lab/tree/tutorials/{name}.ipynb?reset")
        page.wait_for_function(READY, timeout=180_000, polling=500)
        page.evaluate(f"""() => {{
            for (const cell of ({CELLS})()) {{ cell.executionCount = null; cell.clearExecution?.(); }} }}""")
        page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
        page.wait_for_function(FINISHED, timeout=1000*seconds, polling=500)
        assert page.evaluate(FAULTS) == []
        return page
    yield start
    context.close()
    assert not outside, "something was asked of another host"


def move_slider(page):
    "Press an arrow key on the first slider beside a picture, and wait until another picture is there."
    panel = page.locator(".widget-vbox:has(img):has(.noUi-handle)").first
    picture, handle = panel.locator("img").first, panel.locator(".noUi-handle").first
    panel.scroll_into_view_if_needed()
    before, place = picture.get_attribute("src"), handle.get_attribute("aria-valuenow")
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("([handle, place]) => handle.getAttribute('aria-valuenow') !== place",
                           arg=[handle.element_handle(), place], timeout=10_000)
    page.wait_for_function("([image, before]) => image.src !== before && image.complete && image.naturalWidth > 100",
                           arg=[picture.element_handle(), before], timeout=30_000)


def test_a_slider_moves_the_signer(open_and_run, tmp_path):
    page = open_and_run("record_your_own_signs", seconds=300)
    move_slider(page)
    pictures = Path(os.environ.get("ASL_NB_SCREENSHOTS", tmp_path))
    pictures.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=pictures/"lab_slider.png")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["explore_a_dataset", "walk_through_errors", "training_guide", "train_on_asl_signs"])
def test_tutorial_runs_in_jupyterlab(open_and_run, tmp_path, name):
    page = open_and_run(name, seconds=900)
    if name in ("explore_a_dataset", "walk_through_errors"): move_slider(page)
    pictures = Path(os.environ.get("ASL_NB_SCREENSHOTS", tmp_path))
    pictures.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=pictures/f"lab_{name}.png")
