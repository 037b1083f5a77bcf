"""Live recognition in JupyterLab and as a Voilà app, in a real browser whose camera shows a video; needs --slow."""
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
recorder = pytest.importorskip("test_recorder_browser", reason="needs Chromium, MediaPipe, anywidget and JupyterLab")
FAKE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "The tutorial and a model, in a folder of its own."
    from asl_nb.training.configuration import TrainingConfig
    from asl_nb.training.trainer import train
    place = tmp_path_factory.mktemp("live")
    shutil.copy(ROOT/"nbs"/"tutorials"/"live.ipynb", place/"live.ipynb")
    train(TrainingConfig(signs="hello,please,mom", epochs=2, epoch_steps=1, synthetic_signers=4,
                         synthetic_clips=1, dim=16, out=str(place/"models")), report=lambda line: None)
    return place


def serve(folder, module, *words):
    "A Jupyter program in a home of its own."
    home = {name: str(folder/name.lower())
            for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    return subprocess.Popen([sys.executable, "-m", module, "--no-browser", *words], cwd=folder,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            env={**os.environ, **home, "PYTHONPATH": str(ROOT),
                                 "JUPYTER_PATH": str(ROOT/"nbs"/"_tools")})


@pytest.fixture
def browser(tmp_path):
    made = recorder.Browser(tmp_path/"profile", *FAKE,
                            f"--use-file-for-fake-video-capture={recorder.fake_camera(tmp_path)}")
    yield made
    made.close()


def screenshots_of(tmp_path):
    place = Path(os.environ.get("ASL_NB_SCREENSHOTS", tmp_path))
    place.mkdir(parents=True, exist_ok=True)
    return place


def sign_before_the_camera(browser, shot):
    "Camera on, something is seen and named or refused, camera off."
    def app_is_there():
        # "Select kernel", if we were too early
        browser.run("document.querySelector('.jp-Dialog .jp-mod-accept')?.click()")
        return browser.text(".asl-live .news") == "Press Camera on."
    recorder.wait_for(app_is_there, 240, "the app")
    browser.run("document.querySelector('.asl-live').scrollIntoView({block: 'center'})")
    browser.run("document.querySelector('.asl-live button.on').click()")
    recorder.wait_for(lambda: browser.text(".asl-live .news") == "The camera is on.", 60, "the camera")
    seen = set()
    def recognised():
        seen.add(browser.text(".asl-now"))
        return browser.run("document.querySelectorAll('.asl-history li').length")
    try: recorder.wait_for(recognised, 150, "a sign in the history")
    except AssertionError: raise AssertionError(f"no sign was recognised; the app said: {seen}") from None
    browser.screenshot(shot)
    assert any("%" in text for text in seen) or "signing" in " ".join(seen), seen
    browser.run("document.querySelector('.asl-live button.off').click()")
    recorder.wait_for(lambda: browser.text(".asl-live .news") == "The camera is off.", 30, "the end")


def test_the_tutorial_in_jupyterlab(folder, browser, tmp_path):
    port = recorder.free_port()
    server = serve(folder, "jupyterlab", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0",
                   "--IdentityProvider.token=", "--ServerApp.password=",
                   "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}")
    try:
        recorder.wait_for(lambda: recorder.fetch(f"http://127.0.0.1:{port}/api/status"), 120, "JupyterLab")
        browser.call("Page.navigate", url=f"http://127.0.0.1:{port}/lab/tree/live.ipynb?reset")
        recorder.wait_for(lambda: browser.run(recorder.IDLE), 180, "a kernel")
        recorder.wait_for(lambda: browser.run(recorder.NAMED), 60, "the name of the kernel")
        time.sleep(3)
        browser.run("jupyterapp.commands.execute('notebook:run-all-cells').catch(() => 0), 1")
        sign_before_the_camera(browser, screenshots_of(tmp_path)/"live_lab.png")
    finally:
        server.terminate()
        server.wait(20)
    # no image is kept
    assert not [path for path in folder.rglob("*") if path.suffix in (".jpg", ".jpeg", ".mp4", ".webm")]


def test_the_tutorial_as_a_web_app(folder, browser, tmp_path):
    pytest.importorskip("voila", reason="needs python setup_venv.py dev live")
    port = recorder.free_port()
    server = serve(folder, "voila", "live.ipynb", f"--port={port}", "--Voila.ip=127.0.0.1", "--template=offline")
    try:
        recorder.wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close() or True, 120, "Voilà")
        browser.call("Page.navigate", url=f"http://127.0.0.1:{port}/")
        sign_before_the_camera(browser, screenshots_of(tmp_path)/"live_voila.png")
        asked = browser.run("performance.getEntriesByType('resource').map(each => each.name)"
                            ".filter(name => /^https?:/.test(name) && !name.includes('127.0.0.1'))")
        assert asked == [], asked
        assert "from asl_nb" not in browser.run("document.body.innerText")  # no code is shown
    finally:
        server.terminate()
        server.wait(20)
