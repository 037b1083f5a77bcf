"""The demonstration page in a real browser: it answers what Python answers, plays, opens files, asks no other host."""
import json
import os
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from small_export import SIGNS, small_export, small_model

from asl_nb.capture.landmarker import make_models
from asl_nb.data.clips import write_clip
from asl_nb.data.landmarks import ASPECT, change_aspect
from asl_nb.data.synthetic import Signer, perform
from asl_nb.evaluation.prediction import best_guesses
from asl_nb.live.recognizer import Idle, Recognizer, SignEnded, SignStarted
from asl_nb.network.enrolment import enrol
from asl_nb.network.model import ASLModel, EmbeddingStatistics
from asl_nb.network.weights import load_model, save_model

ROOT = Path(__file__).resolve().parents[1]
PAGE, VENDOR = ROOT/"docs"/"demo", ROOT/"docs"/"demo"/"vendor"
VIDEO = ROOT.parent/"shared"/"data"/"videos"/"msl150_ambulancia_001.mp4"
for name, extra in (("onnx", "export"), ("onnxscript", "export"), ("onnxruntime", "export"), ("playwright", "check")):
    pytest.importorskip(name, reason=f"needs python setup_venv.py dev {extra}", exc_type=ImportError)
if not (PAGE/"build.py").is_file(): pytest.skip("no docs/demo beside the tests", allow_module_level=True)
if not (VENDOR/"ort.wasm.min.mjs").is_file():
    pytest.skip("onnxruntime-web is not there; run sh docs/vendor_demo.sh", allow_module_level=True)

sys.path.insert(0, str(PAGE))
import build  # noqa: E402

CLASSES = ("hello", "thankyou", "please", "happy", "drink", "mom", "sleep", "bye")


def wait_for(page, question, seconds=60):
    "Until a JavaScript expression is true. (Playwright's own way evaluates text in the page, which it forbids.)"
    deadline = time.monotonic() + seconds
    while not page.evaluate(question):
        said = page.inner_text("main")
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {question}; the page says: {said}"
        time.sleep(.05)


def wait_for_answer(page, more="true"):
    wait_for(page, f"!demo.playing && !demo.busy && demo.answered === demo.asked && ({more})")


def lay_out(folder, *vendor):
    "The page without its data."
    for path in PAGE.glob("*.*"):
        if path.suffix in (".html", ".js", ".css"): shutil.copy(path, folder)
    (folder/"vendor").mkdir()
    for path in VENDOR.iterdir():
        if path.name.startswith(vendor): (folder/"vendor"/path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "The page with a small model of chance weights, somewhere below the root of the server."
    folder = tmp_path_factory.mktemp("site")/"some"/"where"
    folder.mkdir(parents=True)
    lay_out(folder, "ort", "vision", "holistic", "pose_landmark")
    torch.manual_seed(0)
    model = ASLModel(None, len(CLASSES), max_len=50, dim=16, blocks=("lstm", "conv"), points="hands_and_arms",
                     features=("place", "shape"))
    model.data_kind, model.temperature = "synthetic", .25
    model.statistics = EmbeddingStatistics(torch.randn(16)*.01, 3., -1.)
    save_model(folder/"model.pth", model, CLASSES)
    build.write_page_data(folder/"model.pth", folder/"data")
    return folder


@pytest.fixture(scope="module")
def address(folder, serve): return serve(folder.parents[1]) + "some/where/"


@pytest.fixture
def page(browser, address):
    "The page, ready, and at the end the assertion that nothing went wrong and nobody else was asked for anything."
    context = browser.new_context(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.asked, page.faults = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
    page.goto(address)
    wait_for(page, "window.demo?.ready")
    wait_for_answer(page)
    yield page
    assert page.faults == []
    assert all(url.startswith((address, "data:", "blob:")) for url in page.asked), page.asked
    context.close()


@pytest.fixture(scope="module")
def model(folder): return load_model(folder/"model.pth")


def check(page, model, clip):
    "The page's answer is Python's."
    found, (network, classes) = page.evaluate("demo.answer"), model
    with torch.inference_mode(): logits = network(torch.from_numpy(np.ascontiguousarray(clip))[None])[0]
    assert found["frames"] == len(clip)
    np.testing.assert_allclose(found["logits"], logits.numpy(), atol=1e-4)
    expected = best_guesses(logits, classes, temperature=network.temperature)
    assert [guess["sign"] for guess in found["guesses"]] == [guess.sign for guess in expected]
    np.testing.assert_allclose([guess["share"] for guess in found["guesses"]],
                               [guess.probability for guess in expected], atol=1e-3)


def test_every_clip_is_recognised_as_in_python(page, folder, model):
    *clips, stream = json.loads((folder/"data"/"demo.json").read_text())["clips"]
    assert len(clips) + 1 == page.locator("#clips option").count() >= 6 and stream["stream"]
    for number, row in enumerate(clips):
        page.select_option("#clips", str(number))
        wait_for_answer(page, f"demo.clip.sign === {json.dumps(row['sign'])}")
        clip = np.fromfile(folder/"data"/row["file"], "<f4").reshape(-1, 543, 3)
        assert np.isnan(clip).any() and len(clip) == row["frames"]
        check(page, model, clip)
    assert page.locator("#guesses li").count() == 5 and "ms" in page.inner_text("#latency")
    assert page.inner_text("#verdict") in (*CLASSES, "unknown")
    assert f"all {len(clip)} frames" in page.inner_text("#seen")
    assert page.is_visible("#warning") and page.text_content("#signs") == ", ".join(CLASSES)


def test_the_answer_follows_the_frames(page, folder, model):
    clip = np.fromfile(folder/"data"/"clip0.f32", "<f4").reshape(-1, 543, 3)
    blank = page.evaluate("""(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.every(v => v === 0))(
        document.getElementById('stage'))""")
    assert not blank  # somebody is drawn
    for frame in (0, 7):
        page.evaluate(f"""(s => {{ s.value = {frame}; s.dispatchEvent(new Event('input')) }})(
            document.getElementById('frame'))""")
        wait_for_answer(page, f"demo.frame === {frame}")
        check(page, model, clip[:frame + 1])
        assert f"after {frame + 1} of {len(clip)} frames" in page.inner_text("#seen")
    page.click("#play")
    assert page.inner_text("#play") == "Pause"
    wait_for_answer(page, f"demo.frame === {len(clip) - 1}")
    check(page, model, clip)
    assert page.inner_text("#play") == "Play"


def hear(page, frames, times, aspect, path):
    "What the page's recogniser says of a stream."
    frames.astype("<f4").tofile(path)
    return page.evaluate("""async ([times, aspect]) => {
        const numbers = new Float32Array(await (await fetch('data/stream.f32')).arrayBuffer());
        const recognizer = demo.newRecognizer(), events = [], size = 543*3;
        for (const [place, seconds] of times.entries())
            events.push(...await recognizer.next(numbers.subarray(place*size, (place + 1)*size), seconds, aspect));
        return [...events, ...await recognizer.finish()] }""", [times.tolist(), aspect])


@pytest.mark.parametrize("aspect, rate, jitter, lost", [(ASPECT, 30, 0, 0), (9/16, 20, .8, .1)])
def test_the_recogniser_is_that_of_python(page, folder, model, aspect, rate, jitter, lost):
    "The same events, times and answers, for a phone's upright picture with frames lost, too."
    row = json.loads((folder/"data"/"demo.json").read_text())["clips"][-1]
    frames, rng = np.fromfile(folder/"data"/row["file"], "<f4").reshape(-1, 543, 3), np.random.default_rng(1)
    frames = np.concatenate([frames, frames])[::round(30/rate)]
    times = np.arange(len(frames))/rate + rng.uniform(-.5, .5, len(frames))*jitter/rate
    times[len(frames)//2:] += 3
    kept = rng.random(len(frames)) >= lost
    shares, times = change_aspect(frames[kept], ASPECT, aspect), times[kept]
    found = hear(page, shares, times, aspect, folder/"data"/"stream.f32")
    recognizer, right = Recognizer(*model), []
    for frame, seconds in zip(shares, times): right += recognizer(frame, seconds, aspect)
    right += recognizer.finish()
    kinds = {SignStarted: "start", SignEnded: "end", Idle: "idle"}
    assert [each["kind"] for each in found] == [kinds[type(each)] for each in right]
    np.testing.assert_allclose([each["seconds"] for each in found], [each.seconds for each in right], atol=1e-6)
    ends = [(one, other) for one, other in zip(found, right) if isinstance(other, SignEnded)]
    assert len(ends) >= 4 and any(isinstance(each, Idle) and "no picture" in each.why for each in right)
    for one, other in ends:
        assert (one["sign"], one["why"]) == (other.sign, other.why)
        np.testing.assert_allclose(one["start"], other.start, atol=1e-6)
        np.testing.assert_allclose([guess["share"] for guess in one["guesses"]],
                                   [guess.probability for guess in other.guesses], atol=2e-3)


def test_signs_found_in_a_stream_can_be_played(page):
    page.select_option("#clips", label="4 signs in a row")
    wait_for_answer(page, "demo.clip.signs")
    rows = page.locator("#found-list button")
    assert rows.count() == page.evaluate("demo.clip.signs.length") >= 3 and page.is_visible("#found")
    for row, sign in zip(rows.all(), reversed(page.evaluate("demo.clip.signs"))):
        row.click()
        wait_for_answer(page)
        assert sign["from"] <= page.evaluate("demo.clip.frames[demo.frame].seconds") <= sign["to"]
        if sign["why"] != "the sign before went on":
            assert (sign["sign"] or "unknown") == page.inner_text("#verdict")
        np.testing.assert_allclose(page.evaluate("demo.answer.logits"), sign["logits"], atol=1e-4)
    page.evaluate("""(s => { s.value = 0; s.dispatchEvent(new Event('input')) })(document.getElementById('frame'))""")
    wait_for_answer(page, "demo.frame === 0")
    assert page.inner_text("#verdict") == "no sign here"


def test_it_plays_by_itself_unless_motion_is_unwanted(browser, address):
    page = browser.new_page(reduced_motion="no-preference")
    page.goto(address)
    wait_for(page, "window.demo?.ready")
    wait_for_answer(page, "demo.frame === demo.clip.frames.length - 1")
    assert page.evaluate("demo.asked") >= 5  # about one frame after the other, and not only about the last
    page.close()


def test_a_clip_of_ones_own(page, model, tmp_path):
    clip = perform("drink", Signer.random(5))
    write_clip(tmp_path/"mine.parquet", clip)
    subprocess.run([sys.executable, PAGE/"build.py", "clip", tmp_path/"mine.parquet", tmp_path/"mine.json"],
                   check=True, capture_output=True)
    page.set_input_files("#file", tmp_path/"mine.json")
    wait_for_answer(page, "demo.clip.sign === 'mine.json'")
    rounded = np.where(np.isnan(clip).any(-1, keepdims=True), np.nan,
                       np.round(clip.astype(float), 5)).astype(np.float32)
    check(page, model, rounded)
    page.select_option("#clips", "0")
    wait_for_answer(page, "demo.clip.sign !== 'mine.json'")
    page.select_option("#clips", "own mine.json")
    wait_for_answer(page, "demo.clip.sign === 'mine.json'")
    check(page, model, rounded)


def test_long_clips_are_thinned(page, model, tmp_path):
    build.write_clip_json(tmp_path/"long.json", np.resize(perform("drink", Signer.random(5)), (120, 543, 3)))
    page.set_input_files("#file", tmp_path/"long.json")
    wait_for_answer(page, "demo.clip.sign === 'long.json'")
    assert page.inner_text("#seen").endswith("after all 120 frames, thinned to 50")


def test_a_model_of_ones_own(page, folder, tmp_path):
    (tmp_path/"other.onnx").write_bytes(small_export())
    page.set_input_files("#file", tmp_path/"other.onnx")
    wait_for_answer(page, "demo.model.classes.length === 3")
    check(page, (small_model(), SIGNS), np.fromfile(folder/"data"/"clip0.f32", "<f4").reshape(-1, 543, 3))
    assert page.text_content("#signs") == "böse, über, hello" and page.inner_text("#model").startswith("other.onnx")
    assert not page.is_visible("#teach")  # it does not say what its embeddings are like
    assert not page.is_visible("#warning")


def teach(page, sign, more):
    "Teach the page the clip that it shows."
    page.fill("#own-sign", sign)
    page.click("#teach-it")
    wait_for_answer(page, more)


def test_a_sign_that_it_is_taught(page, folder, model, tmp_path):
    "The same row as Python's, kept when the page is closed, and forgotten when asked."
    clips = [np.fromfile(folder/"data"/f"clip{number}.f32", "<f4").reshape(-1, 543, 3) for number in range(3)]
    for count in (1, 2):
        page.select_option("#clips", str(count - 1))
        wait_for_answer(page, f"demo.clip.sign === {json.dumps(CLASSES[count - 1])}")
        teach(page, " mine ", f"demo.model.added.length && demo.taught.counts[0].count === {count}")
        check(page, enrol(model[0], model[1], "mine", clips[:count]), clips[count - 1])
    assert page.inner_text("#own-signs").split() == ["mine", "2", "recordings", "Forget"]
    assert "Kept" in page.inner_text("#kept") and page.text_content("#signs").endswith("bye, mine")
    page.select_option("#clips", label="4 signs in a row")
    wait_for_answer(page, "demo.clip.signs")
    assert all(len(sign["logits"]) == 9 for sign in page.evaluate("demo.clip.signs"))
    page.reload()
    wait_for(page, "window.demo?.ready")
    page.select_option("#clips", "2")
    wait_for_answer(page, f"demo.clip.sign === {json.dumps(CLASSES[2])}")
    check(page, enrol(model[0], model[1], "mine", clips[:2]), clips[2])
    page.click("text=Forget")
    wait_for_answer(page, "!demo.model.added.length")
    check(page, model, clips[2])
    assert page.evaluate("Object.values(localStorage)") == ["{}"]


@pytest.mark.parametrize("sign, clip, message", [
    ("hello", None, "hello is known already"), ("  ", None, "Give the sign a name"),
    ("mine", np.full((5, 543, 3), np.nan), "No hand is seen")])
def test_what_cannot_be_taught(page, tmp_path, sign, clip, message):
    if clip is not None:
        build.write_clip_json(tmp_path/"mine.json", clip)
        page.set_input_files("#file", tmp_path/"mine.json")
        wait_for_answer(page, "demo.clip.sign === 'mine.json'")
    page.fill("#own-sign", sign)
    page.click("#teach-it")
    wait_for(page, "!document.getElementById('trouble').hidden")
    assert message in page.inner_text("#trouble") and page.evaluate("demo.model.added.length") == 0


def test_damaged_signs_of_ones_own_are_left_out(page):
    row = [.5]*16
    content = {"whole": [row], "short": [row[1:]], "none": [], "hello": [row], "text": "x", "words": [["x"]*16]}
    page.evaluate("text => localStorage.setItem(demo.taught.place, text)", json.dumps(content))
    page.reload()
    wait_for(page, "window.demo?.ready")
    assert page.evaluate("demo.taught.counts") == [{"sign": "whole", "count": 1}]
    for text in ("{", "null", "[1]"):
        page.evaluate("text => localStorage.setItem(demo.taught.place, text)", text)
        page.reload()
        wait_for(page, "window.demo?.ready")
        assert page.evaluate("demo.taught.counts") == [] and not page.is_visible("#trouble")
    wait_for_answer(page)


@pytest.mark.parametrize("content, message", [
    ("{", "not JSON"), ("{}", "landmarks is missing"), ('{"landmarks": []}', "landmarks is missing"),
    ('{"landmarks": [[1, 2]]}', "frame 0 has 2 points"),
    (json.dumps({"landmarks": [["x"]*543]}), "point 0 of frame 0"), (json.dumps({"landmarks": [[]]*3001}), "too many")])
def test_a_bad_clip_is_named(page, tmp_path, content, message):
    (tmp_path/"bad.json").write_text(content)
    before = page.inner_text("#verdict")
    page.set_input_files("#file", tmp_path/"bad.json")
    wait_for(page, "!document.getElementById('trouble').hidden")
    assert message in page.inner_text("#trouble") and "bad.json" in page.inner_text("#trouble")
    assert page.inner_text("#verdict") == before


@pytest.mark.parametrize("name, change, message", [
    ("cut.onnx", lambda content: content[:-700], "cut short"),
    ("half.onnx", lambda content: content[:len(content)//2], "cut short"),
    ("other.onnx", lambda content: content.replace(b"asl_nb onnx 1", b"asl_nb onnx 9"), "another version"),
    ("text.onnx", lambda content: b"no model at all", "no ONNX file"),
    ("empty.onnx", lambda content: b"", "not a model of asl_nb"),
    ("notes.txt", lambda content: b"", "not a kind of file"),
    ("film.mp4", lambda content: b"no video", "no video that this browser can play"),
    ("tasks.onnx", lambda content: content.replace(b"landmark_count\x12\x03543", b"landmark_count\x12\x03478"),
     "478 landmarks")])
def test_a_bad_model_is_named(page, folder, tmp_path, name, change, message):
    (tmp_path/name).write_bytes(change((folder/"data"/"model.onnx").read_bytes()))
    before = page.inner_text("#model")
    page.set_input_files("#file", tmp_path/name)
    wait_for(page, "!document.getElementById('trouble').hidden")
    assert message in page.inner_text("#trouble") and name in page.inner_text("#trouble")
    assert page.inner_text("#model") == before


@pytest.mark.parametrize("width, height, scheme",
                         [(1200, 900, "light"), (1200, 900, "dark"), (390, 844, "light"), (320, 700, "dark")])
def test_it_fits_and_can_be_named(browser, address, width, height, scheme, tmp_path):
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme,
                                  reduced_motion="reduce")
    page = context.new_page()
    page.goto(address)
    wait_for(page, "window.demo?.ready")
    wait_for_answer(page)
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")
    page.get_by_role("button", name="Play").focus()
    page.get_by_role("slider", name="Frame").press("ArrowLeft")
    assert page.get_by_label("or watch", exact=True).is_enabled()
    assert page.get_by_role("img").get_attribute("aria-label").startswith("Stick figure, frame")
    pictures = Path(os.environ.get("ASL_NB_SCREENSHOTS", tmp_path))
    pictures.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=pictures/f"demo_{width}_{scheme}.png", full_page=True)
    context.close()


def test_without_its_data_the_page_says_what_to_do(browser, serve, tmp_path):
    page = browser.new_page()
    page.goto(serve(lay_out(tmp_path, "ort")))
    wait_for(page, "!document.getElementById('trouble').hidden")
    assert "build.py" in page.inner_text("#trouble")
    page.close()


def test_without_a_camera_the_page_says_so(page):
    before = page.inner_text("#verdict")
    page.click("#camera")
    wait_for(page, "!document.getElementById('trouble').hidden && !demo.watching")
    assert "The camera cannot be used (NotFoundError)" in page.inner_text("#trouble")
    wait_for_answer(page)
    assert page.inner_text("#verdict") == before and page.is_enabled("#camera") and not page.is_visible("#stop")
    assert not any("holistic" in url for url in page.asked)


def test_without_mediapipe_the_page_says_what_to_do(browser, folder, serve, tmp_path):
    lay_out(tmp_path, "ort")
    (tmp_path/"data").symlink_to(folder/"data")
    (tmp_path/"holistic_landmarker.task").touch()
    show_video([np.zeros((48, 64, 3), np.uint8)]*3, tmp_path/"short.webm")
    page = browser.new_page(reduced_motion="reduce")
    page.goto(serve(tmp_path))
    wait_for(page, "window.demo?.ready")
    for name in ("holistic_landmarker.task", "short.webm"):
        page.set_input_files("#file", tmp_path/name)
        wait_for(page, "!document.getElementById('trouble').hidden && !demo.watching")
        assert "vendor_demo.sh" in page.inner_text("#trouble") and page.inner_text("#status") == ""
        page.select_option("#clips", "1")
        wait_for_answer(page, "document.getElementById('trouble').hidden")
    page.close()


def test_the_folder_is_not_taken_from_others(folder, tmp_path):
    (tmp_path/"mine.txt").touch()
    done = subprocess.run([sys.executable, PAGE/"build.py", "page", "--model", folder/"model.pth", "--out", tmp_path],
                          capture_output=True, text=True)
    assert done.returncode == 2 and "holds something else" in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


OLDER = "needs the older MediaPipe, of Python 3.11 or 3.12, with its models"


def show_video(images, path, frames_per_second=15):
    "A video file of images `(height, width, 3)`."
    import cv2
    height, width = images[0].shape[:2]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"VP80"), frames_per_second, (width, height))
    for image in images: video.write(image)
    video.release()


def show_camera(images, path):
    "Images as the uncompressed video that Chromium takes for a camera."
    import cv2
    height, width = images[0].shape[:2]
    with path.open("wb") as out:
        out.write(f"YUV4MPEG2 W{width} H{height} F15:1 Ip A1:1 C420jpeg\n".encode())
        for image in images: out.write(b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes())


def images_of_a_signer(width, height):
    "A real signer, with empty room above and below in upright images; where the recordings are not at hand, no signer."
    import cv2
    if not VIDEO.exists(): return [np.full((height, width, 3), 90, np.uint8)]*40
    video, images, shown = cv2.VideoCapture(str(VIDEO)), [], min(height, width)
    while (read := video.read())[0]:
        middle, half = read[1].shape[1]//2, read[1].shape[0]*width//shown//2
        image = cv2.resize(read[1][:, middle - half:middle + half], (width, shown))
        images.append(cv2.copyMakeBorder(image, (height - shown)//2, (height - shown)//2, 0, 0, cv2.BORDER_REPLICATE))
    return images


@pytest.fixture(scope="module")
def filmed(launch, address, tmp_path_factory):
    "The page in a browser whose camera shows a person."
    pytest.importorskip("cv2", reason="needs python setup_venv.py dev capture", exc_type=ImportError)
    if not (VENDOR/"holistic.js").is_file(): pytest.skip("MediaPipe is not there; run sh docs/vendor_demo.sh")
    folder = tmp_path_factory.mktemp("film")
    show_camera(images_of_a_signer(640, 480), folder/"camera.y4m")
    show_video(images_of_a_signer(360, 640)[20:28], folder/"film.webm")  # upright, as from a phone
    browser = launch("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
                     f"--use-file-for-fake-video-capture={folder/'camera.y4m'}")
    page = browser.new_page(reduced_motion="reduce")
    page.asked, page.faults, page.folder = [], [], folder
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
    page.goto(address)
    wait_for(page, "window.demo?.ready")
    yield page
    assert all(url.startswith((address, "data:", "blob:")) for url in page.asked), page.asked
    assert all(fault.startswith("INFO") for fault in page.faults), page.faults  # as TensorFlow greets
    browser.close()


def landmarks_of(page):
    "The frames of the page's clip."
    content = bytes(page.evaluate(
        "demo.clip.frames.flatMap(({ frame }) => [...new Uint8Array(frame.slice().buffer)])"))
    return np.frombuffer(content, "<f4").reshape(-1, 543, 3).copy()


def watched(page, name, seconds=120):
    "Wait until it has been read, and return the landmarks."
    wait_for(page, f"!demo.watching && demo.clip.sign === {json.dumps(name)} "
                   "|| !document.getElementById('trouble').hidden", seconds)
    assert not page.is_visible("#trouble"), page.inner_text("#trouble")
    wait_for_answer(page)
    return landmarks_of(page)


def test_a_video_file(filmed):
    "With no model file to bring, and with the landmarks that Python finds."
    import cv2
    filmed.set_input_files("#file", filmed.folder/"film.webm")
    clip = watched(filmed, "film.webm")
    assert len(clip) == 15 and filmed.evaluate("demo.clip.aspect") == 360/640 # eight images at 15 fps, brought to 30
    assert filmed.is_visible("#found") and filmed.inner_text("#verdict") in ("no sign here", "unknown", *CLASSES)
    if not VIDEO.exists(): return
    pytest.importorskip("mediapipe.python.solutions", reason=OLDER, exc_type=ImportError)
    from mediapipe.python.solutions import holistic
    video = cv2.VideoCapture(str(filmed.folder/"film.webm"))
    with holistic.Holistic() as detector:
        right = [detector.process(cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB)) for _ in range(8)]
    expected = np.full((8, 543, 3), np.nan)
    for frame, found in zip(expected, right):
        for start, hand in ((468, found.left_hand_landmarks), (522, found.right_hand_landmarks)):
            if hand: frame[start:start + 21] = [[point.x, point.y, point.z] for point in hand.landmark]
    away = np.abs(change_aspect(clip, ASPECT, 360/640)[::2] - expected)[:, [*range(468, 489), *range(522, 543)], :2]
    both = np.isfinite(away)  # MediaPipe smooths by the clock, so that a hand may be seen here and not there
    assert both.sum() > .7*np.isfinite(expected[..., :2]).sum() > 100 and np.median(away[both]) < .01


def test_the_camera_as_it_runs(filmed):
    filmed.click("#camera")
    wait_for(filmed, "document.getElementById('status').textContent.includes('images per second')", 60)
    assert filmed.is_visible("#stop") and filmed.is_disabled("#record")
    time.sleep(3)
    pictures = Path(os.environ.get("ASL_NB_SCREENSHOTS", filmed.folder))
    filmed.screenshot(path=pictures/"demo_camera.png", full_page=True)
    filmed.click("#stop")
    clip = watched(filmed, "my camera")
    assert len(clip) >= 3 and filmed.evaluate("demo.clip.aspect") == ASPECT and not filmed.is_visible("#stop")
    if VIDEO.exists():
        seen = np.isfinite(clip[..., 0])  # in most frames: the first may come before the camera has adjusted itself
        assert seen[:, 489:522].mean() > .5 and seen[:, [468, 522]].any(1).mean() > .5


def test_a_recording_of_the_camera_can_be_stopped(filmed):
    filmed.click("#record")
    wait_for(filmed, "document.getElementById('status').textContent.startsWith('looking for hands')", 60)
    time.sleep(1)
    filmed.click("#stop")
    assert 1 <= len(watched(filmed, "my recording")) < 90


def test_no_other_host_can_be_reached(filmed):
    "Not by our code, and not by MediaPipe's in the same page."
    refused = filmed.evaluate("""new Promise(done => {
        addEventListener('securitypolicyviolation', event => done(event.effectiveDirective), { once: true });
        fetch('https://example.org/').catch(() => 0) })""")
    assert refused == "connect-src"
    filmed.faults[:] = [fault for fault in filmed.faults if "example.org" not in fault]
    filmed.asked[:] = [url for url in filmed.asked if "example.org" not in url]


@pytest.mark.slow
def test_the_model_in_the_box_names_drawn_signers(browser, serve, tmp_path):
    "What `make docs` builds."
    lay_out(tmp_path, "ort")
    build.write_page_data(build.MODEL_IN_THE_BOX, tmp_path/"data")
    page = browser.new_page(reduced_motion="reduce")
    page.goto(serve(tmp_path))
    wait_for(page, "window.demo?.ready")
    wait_for_answer(page)
    assert page.inner_text("#verdict") == "hello" and page.inner_text("#model").startswith("asl_webcam_v1")
    assert "12 people" in page.text_content("main") and not page.is_visible("#warning")
    page.select_option("#clips", label="4 signs in a row")
    wait_for_answer(page, "demo.clip.signs")
    assert page.evaluate("demo.clip.signs.map(({ sign }) => sign)") == ["hello", "thankyou", "please", "sad"]
    page.close()


@pytest.mark.slow
def test_a_landmark_model_of_ones_own(filmed, model, tmp_path):
    pytest.importorskip("mediapipe.python.solutions", reason=OLDER, exc_type=ImportError)
    if not VIDEO.exists(): pytest.skip("real recordings are not here")
    make_models(Path(import_module("mediapipe").__file__).parent/"modules", tmp_path/"holistic_landmarker.task")
    filmed.set_input_files("#file", tmp_path/"holistic_landmarker.task")
    wait_for(filmed, "document.getElementById('status').textContent.includes('from now on') "
                     "|| !document.getElementById('trouble').hidden", 180)
    filmed.set_input_files("#file", filmed.folder/"film.webm")
    clip = watched(filmed, "film.webm")
    assert np.isfinite(clip[:, 489:522]).all() and np.isfinite(clip[:, [468, 522], 0]).any(1).mean() > .5
    assert np.isnan(clip[:, :468]).all()
