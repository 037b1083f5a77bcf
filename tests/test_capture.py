"""Videos and keypoints, good and bad: broken files, what is done again and what is not, MediaPipe on real videos."""
import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from asl_nb.capture import extraction, extractor, recordings
from asl_nb.capture.extraction import ExtractionConfig, extract, write_overlays
from asl_nb.capture.extractor import LandmarkExtractor, clip_notes, draw_over, extract_video, frame_from, load_holistic
from asl_nb.capture.keypoints import read_keypoints, read_pose, write_keypoints
from asl_nb.capture.landmarker import agreement, install_models, make_models
from asl_nb.capture.recorder import Recorder, Take, keep_take
from asl_nb.capture.recordings import Labelling, RECORD, Recordings
from asl_nb.capture.video import read_video, video_facts
from asl_nb.core.errors import InputError
from asl_nb.data.clips import read_clip
from asl_nb.data.datasets import load_folder
from asl_nb.data.landmarks import NUM_LANDMARKS, PARTS, mirror_clip
from asl_nb.data.layout import read_table
from asl_nb.data.synthetic import Signer, perform

cv2 = pytest.importorskip("cv2", reason="videos need python setup_venv.py dev capture", exc_type=ImportError)
VIDEOS = Path(__file__).resolve().parents[2]/"shared"/"data"/"videos"
needs_videos = pytest.mark.skipif(not VIDEOS.is_dir(),
                                  reason="the recordings in ../shared/data/videos are not on this machine")

BY_FOLDER = Labelling(participant="by-folder")


def quietly(sources, out, labelling=Labelling(), config=ExtractionConfig(), overwrite=False, jobs=1):
    return extract(sources, out, labelling, config, jobs, overwrite, progress=False)


def write_video(path, images, rate=30, codec="mp4v"):
    "A video of images `(height, width, 3)`."
    images = iter(images)
    first = next(images, None)
    size = (64, 48) if first is None else first.shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size)
    assert writer.isOpened()
    for image in ([] if first is None else [first, *images]): writer.write(image)
    writer.release()
    return path


def ramp(count=30, size=(64, 48), block=12):
    "A bright block that wanders from the left to the right of the upper edge."
    for i in range(count):
        image = np.zeros((size[1], size[0], 3), np.uint8)
        left = round((size[0] - block)*i/max(count - 1, 1))
        image[:size[1]//4, left:left + block] = 255
        yield image


class BrightPoint:
    "Stands in for MediaPipe: the middle of what is bright is the right wrist; in a dark image there is nobody."
    def __init__(self, mirrored=False): self.mirrored = mirrored
    def __enter__(self): return self
    def __exit__(self, *_): pass

    def __call__(self, image):
        frame = np.full((NUM_LANDMARKS, 3), np.nan, np.float32)
        rows, columns = np.nonzero(image[:, ::-1 if self.mirrored else 1, 0] > 128)
        if len(rows): frame[PARTS["right_hand"].start] = columns.mean()/image.shape[1], rows.mean()/image.shape[0], 0
        return frame


@pytest.fixture
def stand_in(monkeypatch):
    "Extraction without MediaPipe."
    monkeypatch.setattr(extractor, "LandmarkExtractor", BrightPoint)
    monkeypatch.setattr(extraction, "load_holistic", lambda: None)
    monkeypatch.setattr(extraction, "extractor_facts", lambda: {"name": "bright point", "version": "1", "models": {}})


# --- videos ----------------------------------------------------------------------------------------------


def test_one_image_is_a_clip_of_one_frame(tmp_path, stand_in):
    write_video(tmp_path/"one.mp4", ramp(1))
    done = quietly(tmp_path/"one.mp4", tmp_path/"out", Labelling(sign="hello", participant="me"))
    assert done.clips == 1 and "only one frame" in done.notes["one.mp4"]
    assert len(read_clip(tmp_path/"out"/read_table(tmp_path/"out").path[0])) == 1


def test_images_of_a_phone_held_upright_are_turned(tmp_path):
    path = write_video(tmp_path/"phone.mp4", ramp())
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # version 0: 40 bytes before the matrix
    # a quarter turn
    content[place:place + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(content)
    facts = video_facts(path)
    assert (facts["width"], facts["height"]) == (48, 64)
    images = [image for _, image in read_video(path)]
    assert images[0].shape == (64, 48, 3)
    # the upper edge has become the right one
    assert images[0][:12, -12:].mean() > 200 and images[-1][-12:, -12:].mean() > 200


def test_times_come_from_the_file_not_from_counting(tmp_path):
    av = pytest.importorskip("av", reason="making a video of uneven pace needs PyAV")
    times = [0, 33, 66, 100, 133, 500, 533, 1000, 1400]
    with av.open(str(tmp_path/"uneven.mp4"), "w") as video:
        stream = video.add_stream("mpeg4", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for moment, image in zip(times, ramp(len(times))):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = moment, Fraction(1, 1000)
            video.mux(stream.encode(frame))
        video.mux(stream.encode())
    found = [moment for moment, _ in read_video(tmp_path/"uneven.mp4")]
    np.testing.assert_allclose(found, np.array(times)/1000, atol=2e-3)
    clip, seconds, _ = extract_video(tmp_path/"uneven.mp4", extractor=BrightPoint())
    assert len(clip) == 43 and np.allclose(np.diff(seconds), 1/30)
    found = [moment for moment, _ in read_video(tmp_path/"uneven.mp4", frames_per_second=2)]
    assert found == pytest.approx([0, .5, 1, 1.4], abs=2e-3)


@pytest.mark.parametrize("rate, count, expected",
                         [(240, 240, 30), (60, 60, 30), (50, 50, 29), (25, 25, 29), (15, 15, 29), (29.97, 30, 30)])
def test_any_pace_becomes_thirty_a_second(tmp_path, rate, count, expected):
    write_video(tmp_path/"video.mp4", ramp(count, (320, 240)), rate)
    clip, seconds, facts = extract_video(tmp_path/"video.mp4", extractor=BrightPoint())
    assert len(clip) == expected and facts["pictures"] <= 30
    across = clip[:, PARTS["right_hand"].start, 0]
    np.testing.assert_allclose(across, across[0] + seconds/((count - 1)/rate)*(1 - 12/320), atol=.02)
    same, _, facts = extract_video(tmp_path/"video.mp4", frames_per_second=None, extractor=BrightPoint())
    assert len(same) == count == facts["pictures"]


def test_4k_is_shrunk_before_the_model_sees_it(tmp_path):
    path, sizes = write_video(tmp_path/"large.mp4", ramp(3, (3840, 2160), 600)), set()
    def look(image):
        sizes.add(image.shape)
        return BrightPoint()(image)
    _, _, facts = extract_video(path, extractor=look)
    assert sizes == {(720, 1280, 3)} and (facts["width"], facts["height"]) == (3840, 2160)
    assert next(read_video(path, largest_side=None))[1].shape == (2160, 3840, 3)


def sound(path):
    av = pytest.importorskip("av", reason="making a sound recording needs PyAV")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        stream.layout = "mono"
        for number in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, 1024*number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def cut_off(path):
    write_video(path, ramp(60))
    path.write_bytes(path.read_bytes()[:2000])


def unknown_codec(path):
    write_video(path, ramp(60))
    path.write_bytes(path.read_bytes().replace(b"mp4v", b"zz9z").replace(b"esds", b"free"))


def torn(path):
    write_video(path, ramp(60))
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start:start + 400] = bytes(400)
    path.write_bytes(content)


BROKEN = {"text": lambda path: path.write_text("Dear diary"), "empty": lambda path: path.touch(), "sound only": sound,
          "cut off": cut_off, "unknown codec": unknown_codec, "no image": lambda path: write_video(path, []),
          "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(9999))}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_video_is_refused_in_one_line(tmp_path, kind, capfd):
    path = tmp_path/"video with spaces – ñ.mp4"
    BROKEN[kind](path)
    with pytest.raises(InputError) as error: list(read_video(path))
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 400
    assert capfd.readouterr().err == ""  # the decoder keeps quiet


def test_what_is_left_of_a_torn_video_is_used(tmp_path):
    torn(path := tmp_path/"torn.mp4")
    try: images = list(read_video(path))
    except InputError: return
    assert 0 < len(images) <= 60


def test_a_playlist_does_not_reach_for_the_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(2)
        address, calls = server.getsockname()[1], []
        def listen():
            try: calls.append(server.accept())
            except TimeoutError: pass
        listener = threading.Thread(target=listen)
        listener.start()
        path = tmp_path/"video.mp4"
        playlist = ["#EXTM3U", "#EXT-X-TARGETDURATION:5", "#EXTINF:5,", f"http://127.0.0.1:{address}/a.ts",
                    "#EXT-X-ENDLIST"]
        path.write_text("\n".join(playlist) + "\n")
        with pytest.raises(InputError): list(read_video(path))
        with pytest.raises(InputError, match="no such file"): list(read_video(f"http://127.0.0.1:{address}/a.mp4"))
        listener.join()
    assert not calls


def test_missing_library_names_the_extra(tmp_path, monkeypatch):
    write_video(tmp_path/"video.mp4", ramp())
    for module in ("mediapipe", "cv2"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, module, None)
            with pytest.raises(InputError, match="in the folder of the clone: python setup_venv.py dev capture"):
                extract(tmp_path/"video.mp4", tmp_path/"out", Labelling(sign="a"), progress=False)
    assert not (tmp_path/"out").exists()


PROVED = {(3, 11): "0.10.14", (3, 12): "0.10.14"}.get(sys.version_info[:2], "0.10.33")


@pytest.mark.parametrize("version", ["0.10.32", "0.10.35", "1.2.2"])
def test_a_mediapipe_that_is_not_proved_is_refused(monkeypatch, version):
    monkeypatch.setitem(sys.modules, "mediapipe", type(sys)("mediapipe"))
    sys.modules["mediapipe"].__version__ = version
    with pytest.raises(InputError, match=f"mediapipe {version} is not the version.*pip install mediapipe=={PROVED}"):
        load_holistic()


def test_without_its_models_the_newer_mediapipe_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path/"data"))
    monkeypatch.setitem(sys.modules, "mediapipe", type(sys)("mediapipe"))
    sys.modules["mediapipe"].__version__ = "0.10.33"
    extractor.extractor_facts.cache_clear()
    for question in (load_holistic, extractor.extractor_facts, LandmarkExtractor,
                     lambda: Recorder(tmp_path/"signs", "hello", "ana")):
        with pytest.raises(InputError, match="comes without its models; fetch them once: asl-nb landmarker$"):
            question()
    write_video(tmp_path/"video.mp4", ramp())
    with pytest.raises(InputError, match="asl-nb landmarker$"):
        extract(tmp_path/"video.mp4", tmp_path/"out", Labelling(sign="a"), progress=False)
    assert not (tmp_path/"out").exists() and not (tmp_path/"signs").exists()


# --- datasets --------------------------------------------------------------------------------------------


@pytest.fixture
def videos(tmp_path):
    "Two signs by two people, one broken video among them, with odd names."
    for person in ("anna", "zoë b"):
        for number, sign in enumerate(("hello", "thank you")):
            (tmp_path/"videos"/person/sign).mkdir(parents=True)
            write_video(tmp_path/"videos"/person/sign/"take 1.mp4", ramp(20 + 5*number + 2*len(person)))
    (tmp_path/"videos"/"anna"/"hello"/"take 2.mov").write_text("not a video")
    return tmp_path/"videos"


def test_folders_tell_sign_and_person_and_one_bad_video_stops_nothing(videos, tmp_path, stand_in):
    done = quietly(videos, tmp_path/"out", BY_FOLDER)
    assert done.clips == 4
    assert list(done.faults) == ["anna/hello/take 2.mov"] and "not a video" in done.faults["anna/hello/take 2.mov"]
    data = load_folder(tmp_path/"out", progress=False)
    assert data.signers == ("anna", "zoë b") and data.classes == ("hello", "thank you")
    record = json.loads((tmp_path/"out"/RECORD).read_text())
    assert record["extractor"]["name"] == "bright point" and record["settings"]["frames_per_second"] == 30
    expected = {f"{person}/{sign}/take 1.mp4" for person in data.signers for sign in data.classes}
    assert {row["source"] for row in record["recordings"].values()} == expected


def test_again_keeps_what_is_there_and_adds_what_is_new(videos, tmp_path, stand_in, monkeypatch):
    quietly(videos, tmp_path/"out", BY_FOLDER)
    table = read_table(tmp_path/"out")
    write_video(videos/"anna"/"hello"/"take 2.mov", ramp(11))
    (videos/"anna"/"hello"/"take 1.mp4").rename(videos/"anna"/"hello"/"renamed.mp4")
    done = quietly(videos, tmp_path/"out", BY_FOLDER)
    assert (done.clips, done.kept, done.faults) == (1, 4, {})
    assert set(table.path) < set(read_table(tmp_path/"out").path)
    assert json.loads((tmp_path/"out"/RECORD).read_text())["faults"] == {}
    os.remove(tmp_path/"out"/table.path[0])  # a clip that is gone is made again
    assert quietly(videos, tmp_path/"out", BY_FOLDER).clips == 1


def test_other_settings_or_another_mediapipe_are_refused(videos, tmp_path, stand_in, monkeypatch):
    quietly(videos, tmp_path/"out")
    with pytest.raises(InputError, match="made with frames_per_second 30, not 15.*overwrite"):
        quietly(videos, tmp_path/"out", config=ExtractionConfig(frames_per_second=15))
    monkeypatch.setattr(extraction, "extractor_facts", lambda: {"name": "bright point", "version": "2", "models": {}})
    with pytest.raises(InputError, match="made with bright point 1, not bright point 2"):
        quietly(videos, tmp_path/"out")
    done = quietly(videos, tmp_path/"out", config=ExtractionConfig(frames_per_second=15), overwrite=True)
    assert done.clips == len(list((tmp_path/"out").rglob("*.parquet"))) == 4


def test_overwriting_spares_takes_of_another_mediapipe(videos, tmp_path, stand_in, monkeypatch):
    "They stay, so what is added has to be of the same program."
    take = Take("hello", extractor=lambda image: perform("hello", Signer())[0])
    take.add(np.zeros((48, 64, 3), np.uint8), 0)
    keep_take(tmp_path/"out", take, "anna", "1")
    quietly(videos, tmp_path/"out")
    before = sorted(path.name for path in (tmp_path/"out").rglob("*.parquet"))
    monkeypatch.setattr(extraction, "extractor_facts", lambda: {"name": "bright point", "version": "2", "models": {}})
    with pytest.raises(InputError, match="made with bright point 1, not bright point 2"):
        quietly(videos, tmp_path/"out", overwrite=True)
    assert sorted(path.name for path in (tmp_path/"out").rglob("*.parquet")) == before and len(before) == 5


def test_another_dataset_is_never_touched(videos, tmp_path, stand_in):
    (tmp_path/"out").mkdir()
    (tmp_path/"out"/"train.csv").write_text("path,participant_id,sequence_id,sign\n")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="were not made here"): quietly(videos, tmp_path/"out", overwrite=overwrite)


def test_a_table_gives_the_labels(videos, tmp_path, stand_in):
    labels = tmp_path/"labels.csv"
    rows = ["file,sign,participant", "anna/hello/take 1.mp4,hi,a", "anna/thank you/take 1.mp4,thanks,",
            "zoë b/hello/take 1.mp4,hi,z"]
    labels.write_text("\n".join(rows) + "\n", encoding="utf-8")
    done = quietly(videos, tmp_path/"out", Labelling(sign=labels, participant="somebody"))
    assert done.clips == 3 and set(done.faults) == {"anna/hello/take 2.mov", "zoë b/thank you/take 1.mp4"}
    rows = sorted(map(tuple, read_table(tmp_path/"out")[["participant_id", "sign"]].to_numpy()))
    assert rows == [("a", "hi"), ("somebody", "thanks"), ("z", "hi")]
    labels.write_text("name,sign\n")
    with pytest.raises(InputError, match="column file is missing"):
        quietly(videos, tmp_path/"out2", Labelling(sign=labels))


def test_the_same_video_under_two_signs_comes_to_light(videos, tmp_path, stand_in):
    shutil.copy(videos/"anna"/"hello"/"take 1.mp4", videos/"anna"/"thank you"/"copy.mp4")
    done = quietly(videos, tmp_path/"out", BY_FOLDER)
    assert done.clips >= 4
    assert "is the same recording as anna/hello/take 1.mp4" in done.faults["anna/thank you/copy.mp4"]
    assert len(read_table(tmp_path/"out")) == len(list((tmp_path/"out").rglob("*.parquet"))) == 4


def work_that_may_die(source, *task):
    "Done in another process, which has neither our stand-ins nor our mercy."
    if "take 2" in source.name: os.kill(os.getpid(), signal.SIGKILL)
    extractor.LandmarkExtractor = BrightPoint
    return extraction._work(source, *task)


@pytest.mark.slow
def test_a_video_whose_process_is_killed_stops_no_other(videos, tmp_path, stand_in, monkeypatch):
    monkeypatch.setattr(extraction, "_work", work_that_may_die)
    write_video(videos/"anna"/"hello"/"take 2.mov", ramp(11))
    done = quietly(videos, tmp_path/"out", BY_FOLDER, jobs=2)
    assert done.clips == len(load_folder(tmp_path/"out", progress=False)) == 4
    assert list(done.faults) == ["anna/hello/take 2.mov"]
    assert "take 2.mov: the process that read it was killed" in done.faults["anna/hello/take 2.mov"]


def test_a_dataset_of_another_kind_is_not_written_into(videos, tmp_path, stand_in):
    (tmp_path/"out"/"train").mkdir(parents=True)
    (tmp_path/"out"/"train"/"train.csv").write_text("path,participant_id,sequence_id,sign\n")
    with pytest.raises(InputError, match="were not made here; give the name of a new folder"):
        quietly(videos, tmp_path/"out")


@pytest.mark.parametrize("mirrored", [False, True])
def test_overlays_show_every_video_of_a_dataset(tmp_path, stand_in, mirrored):
    for number, name in enumerate(("rot", "blau ü", "no clip")):
        (tmp_path/"videos"/name).mkdir(parents=True)
        write_video(tmp_path/"videos"/name/"1.mp4", ramp(20 + number, (320, 240), block=60))
    quietly([tmp_path/"videos"/"rot", tmp_path/"videos"/"blau ü"], tmp_path/"out",
            Labelling(sign="a", participant="me"), ExtractionConfig(mirrored=mirrored))
    files = write_overlays(tmp_path/"videos", tmp_path/"out", tmp_path/"looks", progress=False)
    names = sorted(path.relative_to(tmp_path/"looks").as_posix() for path in files)
    assert names == ["blau ü/1.mp4.png", "rot/1.mp4.png"]
    record = Recordings(tmp_path/"out")
    clip = read_clip(tmp_path/"out"/record.table().path[0])
    figure = draw_over(tmp_path/"videos"/"rot"/"1.mp4", clip, np.arange(len(clip))/30, 3, mirrored)
    for axis, frame in zip(figure.axes, (0, 10, 19)): # the point lies on what is bright
        image = axis.images[0].get_array()
        x, y = clip[frame, PARTS["right_hand"].start, :2]
        assert image[int(y*image.shape[0]), int(x*image.shape[1]), 0] > 200
    plt.close(figure)


def test_nobody_in_any_video_is_an_error(tmp_path, stand_in):
    write_video(tmp_path/"dark.mp4", [np.zeros((48, 64, 3), np.uint8)]*10)
    with pytest.raises(InputError, match="none of the 1 recordings gave a clip.*nobody was found in its 10 images"):
        quietly(tmp_path/"dark.mp4", tmp_path/"out", Labelling(sign="hello"))


H264 = ("AAAAAWdkAAqscgREehAAAAMAEAAAAwMg8SJYRgAAAAFo6EOPLIsAAAFliIEABn/+9uy+BTV3kVCXESzFpn795EDZFSCSYQAAAAFBmgiM"
        "bB8A0iFf/jpSAAAAAUGeEEcQvxExAAAAAQGeGCaIV/8UsAAAAAEBnhhtSFf/FLE=") # five images at 25 frames per second


def test_a_stream_without_times_is_noted(tmp_path, stand_in):
    stream = tmp_path/"stream.h264"
    stream.write_bytes(base64.b64decode(H264))
    assert [round(seconds, 3) for seconds, _ in read_video(stream)] == [0, .04, .08, .12, .16]
    done = quietly(stream, tmp_path/"out", Labelling(sign="hello", participant="me"))
    assert done.notes["stream.h264"][0] == "a bare stream, whose images have no times: they are taken to be 25 a second"
    write_video(tmp_path/"video.mp4", ramp())
    assert video_facts(tmp_path/"video.mp4")["notes"] == []


def test_mirrored_videos_are_turned(tmp_path):
    write_video(tmp_path/"video.mp4", ramp())
    plain = extract_video(tmp_path/"video.mp4", extractor=BrightPoint())[0]
    turned = extract_video(tmp_path/"video.mp4", extractor=BrightPoint(mirrored=True))[0]
    np.testing.assert_allclose(plain[:, 522, 0] + turned[:, 522, 0], 1, atol=.03)


def test_a_full_disk_stops_with_one_line_and_goes_on_later(videos, tmp_path, stand_in, monkeypatch):
    calls, write = [], recordings.write_clip
    def full(path, clip, picture):
        calls.append(path)
        if len(calls) > 2:
            raise InputError(f"{path}: cannot be written (No space left on device); free some space")
        write(path, clip, picture=picture)
    monkeypatch.setattr(recordings, "write_clip", full)
    with pytest.raises(InputError, match="No space left"): quietly(videos, tmp_path/"out", BY_FOLDER)
    assert len(read_table(tmp_path/"out")) == 2
    monkeypatch.setattr(recordings, "write_clip", write)
    done = quietly(videos, tmp_path/"out", BY_FOLDER)
    assert (done.clips, done.kept) == (2, 2)


def test_two_extractions_into_one_folder_do_not_mix(videos, tmp_path, stand_in):
    from filelock import FileLock
    (tmp_path/"out").mkdir()
    with FileLock(tmp_path/"out"/".extraction.lock"):
        with pytest.raises(InputError, match="another extraction is writing here"): quietly(videos, tmp_path/"out")


NONSENSE = [(lambda: {"config": ExtractionConfig(frames_per_second=0)}, "frames_per_second"),
            (lambda: {"config": ExtractionConfig(largest_side=1)}, "largest_side"), (lambda: {"jobs": 0}, "jobs"),
            (lambda: {"labelling": Labelling(participant=" ")}, "participant is empty"),
            (lambda: {"labelling": Labelling(sign="")}, "sign is empty")]


@pytest.mark.parametrize("given, message", NONSENSE)
def test_nonsense_is_refused(videos, tmp_path, stand_in, given, message):
    with pytest.raises(InputError, match=message): quietly(videos, tmp_path/"out", **given())


def test_a_damaged_record_is_named(videos, tmp_path, stand_in):
    quietly(videos, tmp_path/"out")
    (tmp_path/"out"/RECORD).write_text("{")
    with pytest.raises(InputError, match="extraction.json: not readable"): quietly(videos, tmp_path/"out")


def test_what_the_shell_makes_of_a_star_is_the_folder(videos, tmp_path, stand_in):
    whole = quietly(videos, tmp_path/"whole", BY_FOLDER)
    people = sorted(path for path in videos.iterdir() if path.is_dir())
    assert len(people) == 2
    several = quietly(people, tmp_path/"several", BY_FOLDER)
    assert several.clips == whole.clips and set(several.faults) == set(whole.faults)
    columns = ["participant_id", "sequence_id", "sign"]
    one, two = [read_table(tmp_path/name)[columns].sort_values(columns) for name in ("whole", "several")]
    assert one.to_numpy().tolist() == two.to_numpy().tolist()
    files = sorted((videos/"anna").rglob("*.mp4"))
    assert quietly(files, tmp_path/"files", Labelling(participant="anna")).clips == len(files)


def test_a_gif_in_a_folder_is_read_and_what_is_left_out_is_told(tmp_path, stand_in):
    from PIL import Image
    (tmp_path/"videos"/"hello").mkdir(parents=True)
    images = [Image.fromarray(image[..., ::-1]) for image in ramp()]
    images[0].save(tmp_path/"videos"/"hello"/"1.gif", save_all=True, append_images=images[1:], duration=33)
    for name in ("notes.txt", "labels.csv", "all.zip"): (tmp_path/"videos"/"hello"/name).write_text("x")
    done = quietly(tmp_path/"videos", tmp_path/"out", Labelling(participant="me"))
    assert done.clips == 1 and not done.faults
    assert "left out: 2 files that are no recordings here (.txt 1, .zip 1)" in done.remarks


def test_signers_named_in_a_table_need_no_option(videos, tmp_path, stand_in):
    from typer.testing import CliRunner

    from asl_nb.cli import app
    labels = tmp_path/"labels.csv"
    def told(*rows):
        labels.write_text("\n".join(["file,sign,participant", *rows]) + "\n", encoding="utf-8")
        out = tmp_path/f"out {len(rows)} {rows[0][-1]}"
        return CliRunner().invoke(app, ["extract", str(videos/"anna"/"hello"), "--sign", str(labels), "--jobs", "1",
                                        "--out", str(out)]).stderr
    assert "--participant was not given" not in told("take 1.mp4,hi,a")
    assert "--participant was not given" in told("take 1.mp4,hi,")


# --- keypoints -------------------------------------------------------------------------------------------


def test_keypoints_come_back_to_the_last_digit(tmp_path):
    clip = perform("hungry", Signer.random(3), seed=2)
    assert len(clip) > 10  # so that sorting by text would fail
    np.testing.assert_array_equal(read_keypoints(write_keypoints(tmp_path/"0", clip)), clip)


@pytest.mark.parametrize("spoil, message", [
    (lambda path: np.save(path, np.zeros(1662, int)), "holds int64"),
    (lambda path: np.save(path, np.zeros(260)), "not 1662 numbers"),
    (lambda path: np.save(path, np.full(1662, np.inf)), "not finite"),
    (lambda path: path.write_bytes(b""), "not a readable .npy"),
    (lambda path: np.save(path, np.array([{}]*1662), allow_pickle=True), "holds object")])
def test_odd_keypoints_are_refused(tmp_path, spoil, message):
    write_keypoints(tmp_path/"0", perform("sad", Signer()))
    spoil(tmp_path/"0"/"0.npy")
    with pytest.raises(InputError, match=message): read_keypoints(tmp_path/"0")


def write_pose(path, parts, data, rate=30., size=(200, 100), seen=None):
    "Write a .pose file: `parts` name -> points; `data` `(T, P, N, 3)`, where x = 0 is not seen."
    pytest.importorskip("pose_format", reason="reading .pose files needs python setup_venv.py dev capture")
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions
    components = [PoseHeaderComponent(name, points, [], [], "XYZC") for name, points in parts.items()]
    seen = (data[..., 0] != 0).astype(np.float32) if seen is None else seen
    with open(path, "wb") as file:
        Pose(PoseHeader(.1, PoseHeaderDimensions(*size, 1), components), NumPyPoseBody(rate, data, seen)).write(file)


def test_pose_files_of_others(tmp_path):
    data = np.full((20, 1, 2, 3), 50, np.float32)
    data[3] = 0
    # a reduced face, and an iris that we do not keep; 2:1 becomes the standard picture; such depth is none
    write_pose(tmp_path/"face.pose", {"FACE_LANDMARKS": ["33", "477"]}, data, 15)
    clip, seconds, facts = read_pose(tmp_path/"face.pose")
    assert np.flatnonzero(~np.isnan(clip[0, :, 0])).tolist() == [33] and np.allclose(clip[0, 33, :2], [.125, .5])
    assert clip[0, 33, 2] == 0 and "depth is left out (0): z of a point is 50" in facts["notes"][0]
    assert len(clip) == 39 and np.isnan(clip[6, 33]).all() and np.allclose(np.diff(seconds), 1/30)
    write_pose(tmp_path/"other.pose", {"BODY_135": ["a", "b"]}, data)
    with pytest.raises(InputError, match="holds BODY_135 and no landmarks of MediaPipe"):
        read_pose(tmp_path/"other.pose")
    write_pose(tmp_path/"nobody.pose", {"POSE_LANDMARKS": ["NOSE", "LEFT_EYE"]}, np.zeros((5, 1, 2, 3), np.float32))
    with pytest.raises(InputError, match="nobody was found"): read_pose(tmp_path/"nobody.pose")
    write_pose(tmp_path/"none.pose", {"POSE_LANDMARKS": ["NOSE", "LEFT_EYE"]}, np.zeros((5, 0, 2, 3), np.float32))
    with pytest.raises(InputError, match="holds 0 people"): read_pose(tmp_path/"none.pose")
    (tmp_path/"cut.pose").write_bytes((tmp_path/"face.pose").read_bytes()[:150])
    with pytest.raises(InputError, match="not a readable .pose file"): read_pose(tmp_path/"cut.pose")


def a_right_hand(frames=48):
    "A hand `(T, 1, 21, 3)` in pixels of a picture of 200 × 100 that moves to the right; its wrist is at z = 0."
    steps = np.linspace(0, 1, frames)[:, None]
    x, y, z = 60 + 60*steps + np.arange(21), 50 + np.arange(21) % 5 + 0*steps, -.01*np.arange(21) + 0*steps
    return np.stack([x, y, z], -1)[:, None].astype(np.float32)


HAND = {"RIGHT_HAND_LANDMARKS": [str(number) for number in range(21)]}


@pytest.mark.parametrize("rate", [1000, 0, float("nan"), .01, 4, 241])
def test_a_rate_that_no_camera_has_is_none(tmp_path, rate):
    write_pose(tmp_path/"a.pose", HAND, a_right_hand(), rate)
    clip, seconds, facts = read_pose(tmp_path/"a.pose")
    assert len(clip) == 48 and np.allclose(np.diff(seconds), 1/30)
    assert [note for note in facts["notes"] if "which no camera takes; read as 30" in note]
    done = quietly(tmp_path/"a.pose", tmp_path/"out", Labelling(sign="hello", participant="me"))
    assert "no camera takes" in done.notes["a.pose"][0]
    content = json.loads((tmp_path/"out"/RECORD).read_text(), parse_constant=lambda name: pytest.fail(name))
    assert [each["frames"] for each in content["recordings"].values()] == [48]


@pytest.mark.parametrize("rate, frames", [(25, 57), (5, 283), (240, 6)])
def test_a_rate_that_a_camera_has_is_believed(tmp_path, rate, frames):
    write_pose(tmp_path/"a.pose", HAND, a_right_hand(), rate)
    clip, _, facts = read_pose(tmp_path/"a.pose")
    assert len(clip) == frames and facts["notes"] == [] and facts["stated_rate"] == rate


@pytest.mark.parametrize("shift, scale", [(250, 1), (625, 1.5), (0, 200)])
def test_a_depth_that_is_not_mediapipes_is_left_out(tmp_path, shift, scale):
    from asl_nb.network.preprocessing import PreprocessingLayer
    plain, moved = a_right_hand(), a_right_hand()
    moved[..., 2] = moved[..., 2]*scale*(1000 if not shift else 1) + shift
    write_pose(tmp_path/"a.pose", HAND, plain)
    write_pose(tmp_path/"b.pose", HAND, moved)
    (raw, _, fine), (clip, _, facts) = read_pose(tmp_path/"a.pose"), read_pose(tmp_path/"b.pose")
    assert fine["notes"] == [] and np.nanmax(np.abs(raw[..., 2])) < 1
    assert (clip[:, 522:, 2] == 0).all() and "depth is left out" in facts["notes"][0]
    np.testing.assert_array_equal(clip[..., :2], raw[..., :2])
    layer = PreprocessingLayer()
    features = [layer(torch.from_numpy(each[None]), torch.tensor([len(each)]))[0].abs().max() for each in (raw, clip)]
    assert features[1] <= features[0] < 100


def test_of_several_people_in_a_pose_file_the_one_who_signs_is_read(tmp_path):
    signer, still = a_right_hand(93), np.repeat(a_right_hand(1), 93, 0)
    bystander = a_right_hand(93) + [9, 9, 0]
    bystander[5:] = 0 # not seen
    for people in ([bystander, signer], [signer, bystander], [still, signer], [still, bystander, signer]):
        write_pose(tmp_path/"a.pose", HAND, np.concatenate(people, 1).astype(np.float32))
        clip, _, facts = read_pose(tmp_path/"a.pose")
        place = [each is signer for each in people].index(True)
        np.testing.assert_allclose(clip[:, 522, 1], .5, atol=1e-6)
        assert np.ptp(clip[:, 522, 0]) > .2 and facts["people"] == len(people)
        assert f"holds {len(people)} people; taken is number {place + 1}" in facts["notes"][0]
        assert "seen in 93 of 93 frames" in facts["notes"][0]


def test_hands_cut_out_and_stretched_are_noted(tmp_path):
    hand = a_right_hand()[:, 0]
    low, high = hand[..., :2].min(1, keepdims=True), hand[..., :2].max(1, keepdims=True)
    hand[..., :2] = 2 + (hand[..., :2] - low)/(high - low)*[190, 90]
    write_pose(tmp_path/"a.pose", HAND, hand[:, None])
    done = quietly(tmp_path/"a.pose", tmp_path/"out", Labelling(sign="a", participant="me"))
    assert "the hands fill the picture" in done.notes["a.pose"][0]


def test_a_part_counts_as_seen_if_any_of_its_points_is(tmp_path):
    points = {"POSE_LANDMARKS": ["LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_WRIST", "RIGHT_WRIST"]}
    write_pose(tmp_path/"a.pose", points, np.full((20, 1, 4, 3), [50, 50, 0], np.float32))
    quietly(tmp_path/"a.pose", tmp_path/"out", Labelling(sign="a", participant="me"))
    [record] = json.loads((tmp_path/"out"/RECORD).read_text())["recordings"].values()
    assert record["seen"]["pose"] == 1


def test_mirrored_landmarks_are_turned_like_mirrored_videos(tmp_path):
    clip = perform("hungry", Signer.random(3), seed=2)
    write_keypoints(tmp_path/"take", mirror_clip(clip))
    mirror = a_right_hand()
    mirror[..., 0] = 200 - mirror[..., 0]
    write_pose(tmp_path/"a.pose", HAND, a_right_hand())
    write_pose(tmp_path/"b.pose", {"LEFT_HAND_LANDMARKS": HAND["RIGHT_HAND_LANDMARKS"]}, mirror)
    def extracted(path, mirrored):
        out = tmp_path/f"out {path.name} {mirrored}"
        quietly(path, out, Labelling(sign="a", participant="me"), ExtractionConfig(mirrored=mirrored))
        return read_clip(out/read_table(out).path[0])
    np.testing.assert_allclose(extracted(tmp_path/"take", True), clip, atol=1e-6)
    np.testing.assert_allclose(extracted(tmp_path/"b.pose", True), extracted(tmp_path/"a.pose", False), atol=1e-6)


def test_frames_are_placed_by_their_number(tmp_path):
    clip = perform("hungry", Signer.random(3), seed=2)
    write_keypoints(tmp_path/"take", clip)
    for number in (2, 3, 4): (tmp_path/"take"/f"{number}.npy").unlink()
    found = read_keypoints(tmp_path/"take")
    np.testing.assert_array_equal(found[[0, 1]], clip[[0, 1]])
    np.testing.assert_array_equal(found[5:], clip[5:])
    assert np.isnan(found[2:5]).all() and len(found) == len(clip)
    done = quietly(tmp_path/"take", tmp_path/"out", Labelling(sign="a", participant="me"))
    assert done.notes["."][0] == f"3 of {len(clip)} frames are missing, the first is 2.npy: nobody is seen in them"
    for name in list((tmp_path/"take").iterdir()): name.rename(name.with_name(f"{7 + 5*int(name.stem)}.npy.new"))
    for name in list((tmp_path/"take").iterdir()): name.rename(name.with_suffix(""))
    np.testing.assert_array_equal(read_keypoints(tmp_path/"take"), found)
    shutil.copy(tmp_path/"take"/"7.npy", tmp_path/"take"/"007.npy")
    with pytest.raises(InputError, match="have the same number"): read_keypoints(tmp_path/"take")
    (tmp_path/"take"/"007.npy").rename(tmp_path/"take"/f"{10**12}.npy")
    with pytest.raises(InputError, match="a clip has at most 10,000"): read_keypoints(tmp_path/"take")


# --- MediaPipe -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mediapipe():
    found = pytest.importorskip("mediapipe", reason="needs python setup_venv.py dev capture", exc_type=ImportError)
    try: load_holistic()
    except InputError as error: pytest.skip(str(error))
    return found


@pytest.fixture(scope="module")
def older(mediapipe):
    if not hasattr(mediapipe, "solutions"): pytest.skip("needs the older MediaPipe, of Python 3.11 or 3.12")
    return mediapipe


@pytest.fixture(scope="module")
def newer(mediapipe):
    if hasattr(mediapipe, "solutions"): pytest.skip("needs the newer MediaPipe, of Python 3.13")
    return mediapipe


def real_images(name, most=20):
    return [image for (_, image), _ in zip(read_video(VIDEOS/f"msl150_{name}_001.mp4"), range(most))]


@pytest.mark.slow
@needs_videos
def test_real_videos_show_hands_and_body(mediapipe, tmp_path):
    videos = tmp_path/"videos"
    videos.mkdir()
    for name in ("ambulancia", "yo"): shutil.copy(VIDEOS/f"msl150_{name}_001.mp4", videos)
    (videos/"msl150_hoy_001.mp4").write_text("not a video")
    done = extract(videos, tmp_path/"out", Labelling(sign=VIDEOS/"index.csv", participant="signer"), progress=False)
    assert done.clips == 2 and list(done.faults) == ["msl150_hoy_001.mp4"]
    record = json.loads((tmp_path/"out"/RECORD).read_text())
    assert record["extractor"]["version"] == mediapipe.__version__
    assert all(len(digest) == 64 for digest in record["extractor"]["models"].values())
    both, right = [row["seen"] for row in record["recordings"].values()]
    assert both["pose"] == right["pose"] == 1 and both["left_hand"] > .9 and both["right_hand"] > .9
    assert right["right_hand"] > .9 and right["left_hand"] == 0  # a one-handed sign
    assert load_folder(tmp_path/"out", progress=False).classes == ("ambulancia", "yo")
    again = extract(videos, tmp_path/"out", Labelling(sign=VIDEOS/"index.csv", participant="signer"), progress=False)
    assert (again.clips, again.kept) == (0, 2)


@pytest.mark.slow
@needs_videos
def test_landmarks_are_exactly_those_of_mediapipe(older):
    images = real_images("doctor")
    with older.solutions.holistic.Holistic(model_complexity=1) as alone:
        expected = [frame_from(alone.process(image)) for image in images]
    with LandmarkExtractor() as ours: found = [ours(image) for image in images]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@needs_videos
def test_hands_are_on_their_true_side(mediapipe):
    images = real_images("yo")  # made with the right hand
    with LandmarkExtractor() as extractor: plain = np.stack([extractor(image) for image in images])
    with LandmarkExtractor() as extractor: wrong = np.stack([extractor(image[:, ::-1]) for image in images])
    with LandmarkExtractor(mirrored=True) as extractor:
        cured = np.stack([extractor(image[:, ::-1]) for image in images])
    right, left = PARTS["right_hand"].start, PARTS["left_hand"].start
    assert not np.isnan(plain[:, right, 0]).any() and np.isnan(plain[:, left]).all()
    assert np.isnan(wrong[:, right]).all() and not np.isnan(wrong[:, left, 0]).all()
    np.testing.assert_array_equal(cured, plain)
    assert np.nanmedian(np.abs(mirror_clip(wrong)[:, right] - plain[:, right])) < .02


@pytest.mark.slow
@needs_videos
def test_of_two_people_one_is_followed(mediapipe):
    images = [np.concatenate(pair, 1) for pair in zip(real_images("yo"), real_images("doctor"))]
    with LandmarkExtractor() as extractor: clip = np.stack([extractor(image) for image in images])
    middle = clip[:, [500, 501], 0].mean(1)
    assert (middle < .5).all() or (middle > .5).all()
    assert not [note for note in clip_notes(clip) if "jumps" in note]


@pytest.mark.slow
@needs_videos
def test_nobody_in_the_image(mediapipe, tmp_path):
    write_video(tmp_path/"wall.mp4", [np.full((240, 320, 3), 90, np.uint8)]*5)
    with pytest.raises(InputError, match="nobody was found"): extract_video(tmp_path/"wall.mp4")


@pytest.mark.slow
@needs_videos
def test_a_killed_run_goes_on_where_it_stopped(mediapipe, tmp_path):
    code = ("from asl_nb.capture.extraction import extract; from asl_nb.capture.recordings import Labelling; "
            f"extract({str(VIDEOS)!r}, {str(tmp_path/'out')!r}, Labelling({str(VIDEOS/'index.csv')!r}, 's'), jobs=1)")
    run = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (tmp_path/"out"/"train.csv").exists(): time.sleep(.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    before = len(read_table(tmp_path/"out"))
    assert 1 <= before < 5
    done = extract(VIDEOS, tmp_path/"out", Labelling(sign=VIDEOS/"index.csv", participant="s"), progress=False)
    assert done.kept == before and done.clips == 5 - before and len(load_folder(tmp_path/"out", progress=False)) == 5


# --- the newer MediaPipe ---------------------------------------------------------------------------------


MADE = "cf60b0e48c901ce0232e7dafe851ba02b01f4782dd90506c319092012ab9fb25"  # with flatbuffers of constraints.txt


def test_the_models_are_the_same_wherever_they_are_made(older, tmp_path):
    "Else datasets of two people could not be joined: their records hold checksums."
    make_models(Path(older.__file__).parent/"modules", tmp_path/"made.task")
    assert hashlib.sha256((tmp_path/"made.task").read_bytes()).hexdigest() == MADE
    with pytest.raises(InputError, match="has its models inside"): install_models(tmp_path/"made.task")


def test_the_models_in_place_are_those(newer):
    path = extractor.models_path()
    if len(extractor.read_models(path)["face_detector.tflite"]) > 100_000: pytest.skip("official models are there")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == MADE


def test_the_newer_mediapipe_takes_images_of_any_kind(newer):
    "In memory of any order, of another size in the middle, and so often that it is asked for the same moment twice."
    wide, high = np.zeros((48, 64, 3), np.uint8), np.zeros((90, 30, 3), np.uint8)
    with LandmarkExtractor(mirrored=True) as extractor:
        for image in (wide, high, high[:, ::-1], np.asfortranarray(wide), wide[::2, ::2]):
            assert np.isnan(extractor(image)).all()


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + 18*b"\0", b"not a model"*50])
def test_a_damaged_file_of_models_is_refused_in_a_line(newer, tmp_path, monkeypatch, content):
    kept = extractor.models_path().read_bytes()
    path = tmp_path/"holistic_landmarker.task"
    for bad in (content, kept[:len(kept)//2], kept[:1000] + 500*b"\0" + kept[1500:]):
        path.write_bytes(bad)
        with pytest.raises(InputError, match="holistic_landmarker.task: .*asl-nb landmarker$"): install_models(path)
    assert extractor.models_path().read_bytes() == kept
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path/"asl_nb").mkdir()
    shutil.copy(path, extractor.models_path())
    with pytest.raises(InputError, match="MediaPipe cannot use these models"): LandmarkExtractor()


@needs_videos
def test_the_face_of_the_newer_mediapipe_stays_empty_and_hands_are_found(newer):
    with LandmarkExtractor() as extractor: clip = np.stack([extractor(image) for image in real_images("ambulancia")])
    assert clip.shape == (20, NUM_LANDMARKS, 3) and np.isnan(clip[:, PARTS["face"]]).all()
    assert not np.isnan(clip[:, PARTS["pose"]]).any() and np.isfinite(clip[:, [468, 522], 0]).all(1).mean() > .8


@pytest.mark.slow
@needs_videos
def test_agreement_of_a_dataset_with_itself(mediapipe, tmp_path):
    for name in "ab": quietly(VIDEOS/"msl150_ambulancia_001.mp4", tmp_path/name, Labelling(sign="a"))
    table = agreement(tmp_path/"a", tmp_path/"b")
    assert len(table) == 3 and (table["median"] == 0).all() and (table["95 %"] == 0).all()
    assert (table["first"] == table["second"]).all() and table["first"].min() > .9
