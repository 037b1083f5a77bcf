"""The recorder in JupyterLab, in a real browser, before a camera that shows a video: needs Chromium and --slow."""
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from asl_nb.capture.extractor import load_holistic
from asl_nb.core.errors import InputError
from asl_nb.data.clips import read_clip
from asl_nb.data.datasets import load_folder
from asl_nb.data.landmarks import PARTS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
VIDEO = ROOT.parent/"shared"/"data"/"videos"/"msl150_ambulancia_001.mp4"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
websocket = pytest.importorskip("websocket", reason="comes with JupyterLab")
for name in ("mediapipe", "anywidget", "jupyterlab"):
    pytest.importorskip(name, reason="needs python setup_venv.py dev capture and JupyterLab", exc_type=ImportError)
try: load_holistic()
except InputError as error: pytest.skip(str(error), allow_module_level=True)
if not CHROMIUM: pytest.skip("no Chromium on this machine; install the package chromium", allow_module_level=True)

# what the page says when a kernel is there, idle, and has a name
IDLE = "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status == 'idle'"
NAMED = ("[...document.querySelectorAll('.jp-KernelName, [data-jp-item-name=kernelName]')]"
         ".some(part => part.textContent.includes('Python'))")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(question, seconds, what):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if answer := question(): return answer
        except (OSError, KeyError, ValueError): pass
        time.sleep(.2)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


def fetch(address):
    with urllib.request.urlopen(address, timeout=5) as answer: return json.load(answer)


class Browser:
    "A page of a headless Chromium, driven by its own protocol."
    def __init__(self, folder, *flags):
        port = free_port()
        self.process = subprocess.Popen([CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu",
                                         "--disable-dev-shm-usage", "--no-first-run",
            f"--user-data-dir={folder}", f"--remote-debugging-port={port}", "--remote-allow-origins=*",
                                         "--window-size=1000,1300", *flags, "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pages = lambda: [page for page in fetch(f"http://127.0.0.1:{port}/json") if page["type"] == "page"]
        self.socket = websocket.create_connection(wait_for(pages, 60, "Chromium")[0]["webSocketDebuggerUrl"],
                                                  timeout=60, max_size=None)
        self.number = 0

    def call(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.number: return answer["result"]

    def run(self, script):
        "The value of a JavaScript expression."
        return self.call("Runtime.evaluate", expression=script, awaitPromise=True,
                         returnByValue=True)["result"].get("value")

    def text(self, selector): return self.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")
    def press(self, name):
        wait_for(lambda: self.run(f"(b => b && !b.disabled)(document.querySelector('.asl-recorder button.{name}'))"),
                 60, f"the button {name}")
        self.run(f"document.querySelector('.asl-recorder button.{name}').click()")

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "JupyterLab with the tutorial, in a folder and a home of its own."
    folder, port = tmp_path_factory.mktemp("lab"), free_port()
    shutil.copy(ROOT/"nbs"/"tutorials"/"record_your_own_signs.ipynb", folder/"record.ipynb")
    home = {name: str(folder/name.lower())
            for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
                               "--ServerApp.port_retries=0",
        "--IdentityProvider.token=", "--ServerApp.password=", "--LabApp.expose_app_in_browser=True",
        f"--ServerApp.root_dir={folder}"], env={**os.environ, **home, "PYTHONPATH": str(ROOT)}, cwd=folder,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: fetch(f"http://127.0.0.1:{port}/api/status"), 90, "JupyterLab")
        yield folder, f"http://127.0.0.1:{port}/lab/tree/record.ipynb"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def open_recorder(lab, tmp_path):
    "Opens the tutorial, runs its cells and waits for the recorder."
    browsers = []
    def start(*flags):
        browsers.append(browser := Browser(tmp_path/"profile", *flags))
        browser.call("Page.navigate", url=lab[1] + "?reset")
        wait_for(lambda: browser.run(IDLE), 120, "a kernel")
        wait_for(lambda: browser.run(NAMED), 60, "the name of the kernel")
        time.sleep(3)
        browser.run("jupyterapp.commands.execute('notebook:run-all-cells').catch(() => 0), 1")
        def recorder_is_there():
            # "Select kernel", if we were too early
            browser.run("document.querySelector('.jp-Dialog .jp-mod-accept')?.click()")
            return browser.text(".asl-recorder .news") == "Press Camera on."
        wait_for(recorder_is_there, 180, "the recorder")
        browser.run("document.querySelector('.asl-recorder').scrollIntoView({block: 'center'})")
        return browser
    yield start
    for browser in browsers: browser.close()


def fake_camera(folder):
    "A video as Chromium's fake camera wants it: 640 × 360, uncompressed."
    import cv2
    if not VIDEO.exists(): pytest.skip("the recordings in ../shared/data/videos are not on this machine")
    video, path = cv2.VideoCapture(str(VIDEO)), folder/"camera.y4m"
    with open(path, "wb") as file:
        file.write(b"YUV4MPEG2 W640 H360 F30:1 Ip A1:1 C420jpeg\n")
        while True:
            good, image = video.read()
            if not good: break
            file.write(b"FRAME\n" + cv2.cvtColor(cv2.resize(image, (640, 360)), cv2.COLOR_BGR2YUV_I420).tobytes())
    return path


def test_record_keep_and_discard(lab, open_recorder, tmp_path):
    folder, _ = lab
    browser = open_recorder("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
                            f"--use-file-for-fake-video-capture={fake_camera(tmp_path)}")
    shots = Path(os.environ.get("ASL_NB_SCREENSHOTS", tmp_path))
    shots.mkdir(parents=True, exist_ok=True)
    browser.press("on")
    for decision in ("keep", "discard"):
        browser.press("record")
        wait_for(lambda: browser.run("!document.querySelector('.asl-recorder button.keep').disabled"), 150, "a verdict")
        verdict = browser.text(".asl-recorder .news")
        assert "right hand" in verdict and "images" in verdict, verdict
        time.sleep(1)
        browser.screenshot(shots/f"recorder_{decision}.png")
        browser.press(decision)
        wait_for(lambda: "Next: please" in browser.text(".asl-recorder .news"), 30, "the next sign")
    assert browser.run("document.querySelector('.asl-recorder select').selectedOptions[0].textContent") == "please (0)"
    data = load_folder(folder/"my_signs", progress=False)
    assert (data.classes, data.signers) == (("hello",), ("me",))
    recordings = json.loads((folder/"my_signs"/"extraction.json").read_text())["recordings"]
    clip = read_clip(folder/"my_signs"/recordings.popitem()[1]["clips"][0]["path"])
    seen = {part: float((clip[:, place.start, 0] == clip[:, place.start, 0]).mean()) for part, place in PARTS.items()}
    assert len(clip) > 60 and seen["pose"] > .95 and seen["right_hand"] > .7 and seen["left_hand"] > .7
    browser.press("off")
    # no image is kept
    assert not [path for path in folder.rglob("*") if path.suffix in (".jpg", ".jpeg", ".mp4", ".webm")]


def test_no_camera_is_said_in_the_recorder(open_recorder, tmp_path):
    browser = open_recorder("--use-fake-ui-for-media-stream")
    browser.press("on")
    wait_for(lambda: "No camera was found" in browser.text(".asl-recorder .trouble"), 20, "the message")


def test_permission_denied_is_said_in_the_recorder(open_recorder):
    browser = open_recorder("--use-fake-device-for-media-stream", "--deny-permission-prompts")
    browser.press("on")
    wait_for(lambda: "may not use the camera" in browser.text(".asl-recorder .trouble"), 20, "the message")
