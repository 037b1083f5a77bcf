"""True proportions: the same people before cameras of any shape tell the model the same, whichever way they come in."""
import hashlib
import re
import shutil
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from asl_nb.capture.extraction import ExtractionConfig, read_source
from asl_nb.capture.extractor import extract_video
from asl_nb.capture.recorder import Take, keep_take
from asl_nb.capture.recordings import Source, file_clips
from asl_nb.core.errors import InputError
from asl_nb.data.clips import picture_text, read_clip, read_recording, write_clip
from asl_nb.data.datasets import load_folder, pack_folder
from asl_nb.data.inspection import inspect_dataset
from asl_nb.data.landmarks import ASPECT, PARTS, change_aspect
from asl_nb.data.layout import read_table
from asl_nb.data.store import open_store
from asl_nb.data.synthetic import Signer, perform, write_synthetic
from asl_nb.evaluation.prediction import clip_logits, predict
from asl_nb.live.recognizer import Recognizer
from asl_nb.live.spotter import MotionSpotter
from asl_nb.network.model import ASLModel
from asl_nb.training.configuration import TrainingConfig

PICTURES = {"16:9": (1280, 720), "1:1": (720, 720), "3:4": (960, 1280), "9:16": (720, 1280), "4:3": (640, 480)}
SIGNS = ("hello", "thankyou", "drink", "sleep", "blue", "go")
shapes = pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)


def seen_by(clip, picture):
    "The shares that a camera of this shape gives of a clip in the standard picture."
    return change_aspect(clip, ASPECT, picture[0]/picture[1])


@pytest.fixture(scope="module")
def clips(): return [perform(sign, Signer.random((9, number)), number) for number, sign in enumerate(SIGNS)]


@pytest.fixture(scope="module", params=["best", "guide"])
def model(request):
    torch.manual_seed(0)
    return ASLModel(None, len(SIGNS), max_len=60, **TrainingConfig(recipe=request.param).network | {"dim": 16}).eval()


def furthest(one, other): return float((torch.stack(one) - torch.stack(other)).abs().max())


@shapes
def test_a_clip_with_its_size_gives_equal_logits_and_one_without_does_not(model, clips, picture, tmp_path):
    right = [clip_logits(model, clip) for clip in clips]
    with_size, without = [], []
    for number, clip in enumerate(clips):
        path = tmp_path/f"{number}.parquet"
        write_clip(path, seen_by(clip, picture), picture=picture)
        with_size.append(clip_logits(model, read_clip(path)))
        write_clip(path, seen_by(clip, picture))
        without.append(clip_logits(model, read_clip(path)))
    assert furthest(with_size, right) < 2e-3
    if picture != (640, 480): assert furthest(without, right) > max(.02, 20*furthest(with_size, right))


@shapes
def test_predict_is_told_the_shape_of_an_array_and_reads_that_of_a_file(model, clips, picture, tmp_path):
    opened, shares = (model, SIGNS), seen_by(clips[0], picture)
    write_clip(tmp_path/"clip.parquet", shares, picture=picture)
    right = [guess.probability for guess in predict(clips[0], opened)]
    for asked in ({"clips": shares, "aspect": picture[0]/picture[1]}, {"clips": tmp_path/"clip.parquet", "aspect": 3.}):
        assert np.allclose([guess.probability for guess in predict(model=opened, **asked)], right, atol=1e-4)


@shapes
def test_live_frames_of_any_shape_give_the_same_answer(model, clips, picture):
    def answer(frames, **shape):
        recognizer = Recognizer(model, SIGNS, spotter=MotionSpotter())
        events = [event for number, frame in enumerate(frames) for event in recognizer(frame, number/30, **shape)]
        return [event.logits for event in [*events, *recognizer.finish()] if getattr(event, "logits", None) is not None]
    right = answer(clips[1])
    assert right and furthest(answer(seen_by(clips[1], picture), aspect=picture[0]/picture[1]), right) < 2e-3


@shapes
def test_store_inspection_and_what_is_written_again(clips, picture, tmp_path):
    write_synthetic(tmp_path/"plain", signers=2, clips_per_sign=1, signs=SIGNS, progress=False)
    table = read_table(tmp_path/"plain")
    before = [read_clip(tmp_path/"plain"/name) for name in table.path]
    for clip, name in zip(before, table.path):
        write_clip(tmp_path/"plain"/name, seen_by(clip, picture), picture=picture)
    for clip, name in zip(before, table.path):
        once, size, _ = read_recording(tmp_path/"plain"/name)
        assert size == picture and once.dtype == np.float32
        np.testing.assert_allclose(once, clip, atol=1e-6)
        write_clip(tmp_path/"again.parquet", once)
        np.testing.assert_array_equal(read_clip(tmp_path/"again.parquet"), once)
    pack_folder(tmp_path/"plain", tmp_path/"packed", progress=False)
    for folder in ("plain", "packed"):
        found = inspect_dataset(tmp_path/folder, progress=False)
        assert found.as_dict()["pictures"] == {picture_text(picture): len(table)}
        assert any(f"picture: {picture_text(picture)} (12)" in line for line in found.describe())
        assert not any("faces" in line for line in found.describe())
        np.testing.assert_allclose(found.clip(3), before[3], atol=2e-3)
    np.testing.assert_allclose(load_folder(tmp_path/"plain", progress=False).clips[5], before[5], atol=2e-3)


def test_inspection_says_what_is_not_known_and_which_faces_do_not_fit(tmp_path):
    write_synthetic(tmp_path, signers=3, clips_per_sign=1, signs=SIGNS, progress=False)
    table = read_table(tmp_path)
    for name in table.path[table.participant_id == "synthetic02"]:
        write_clip(tmp_path/name, seen_by(read_clip(tmp_path/name), (1080, 1920)))
    lines = "\n".join(inspect_dataset(tmp_path, progress=False).describe())
    assert "picture: 640x480 (12); not known of 6, taken as 4:3" in lines
    assert re.search(r"faces do not fit the shape of the picture: 1 \(synthetic02: 2\.[34] times as wide as", lines)


def test_a_store_of_an_earlier_version_opens_and_knows_no_sizes(tmp_path):
    write_synthetic(tmp_path/"plain", signers=1, clips_per_sign=1, signs=SIGNS, progress=False)
    pack_folder(tmp_path/"plain", tmp_path/"packed", progress=False)
    index, summary = tmp_path/"packed"/"index.parquet", tmp_path/"packed"/"store.json"
    known = hashlib.blake2b(index.read_bytes(), digest_size=16).hexdigest()
    pq.write_table(pq.read_table(index).drop_columns("picture"), index)
    text = summary.read_text()
    summary.write_text(text.replace(known, hashlib.blake2b(index.read_bytes(), digest_size=16).hexdigest()))
    store = open_store(tmp_path/"packed")
    assert len(store) == 6 and set(store.pictures) == {""}
    assert inspect_dataset(tmp_path/"packed", progress=False).as_dict()["pictures"] == {"not known": 6}
    wrong = pq.read_table(index).append_column("picture", pa.array(["12x"]*6))
    pq.write_table(wrong, index)
    summary.write_text(text.replace(known, hashlib.blake2b(index.read_bytes(), digest_size=16).hexdigest()))
    with pytest.raises(InputError, match="sizes that are none"): open_store(tmp_path/"packed")


@shapes
def test_a_take_is_filed_with_its_size(clips, picture, tmp_path):
    frames = iter(seen_by(clips[2], picture))
    take = Take("drink", lambda image: next(frames))
    grey = np.zeros((picture[1], picture[0], 3), np.uint8)
    for number in range(len(clips[2])): take.add(grey, number/30)
    keep_take(tmp_path, take, "me", "1")
    clip, size, _ = read_recording(tmp_path/read_table(tmp_path).path[0])
    assert size == picture
    np.testing.assert_allclose(clip, clips[2], atol=1e-5)


@shapes
def test_a_video_is_filed_with_its_size(picture, tmp_path, clips):
    if not find_spec("cv2"): pytest.skip("videos need python setup_venv.py dev capture")
    from asl_nb.capture.video import VideoWriter
    small = tuple(side//4 for side in picture)
    with VideoWriter(tmp_path/"grey.mp4") as video:
        for _ in clips[3]: video.write(np.full((small[1], small[0], 3), 90, np.uint8))
    frames = iter(seen_by(clips[3], picture))
    clip, _, facts = extract_video(tmp_path/"grey.mp4", extractor=lambda image: next(frames))
    assert (facts["width"], facts["height"]) == small
    np.testing.assert_allclose(clip, clips[3], atol=1e-5)
    filed = file_clips(tmp_path, "ab", "me", clip, [slice(0, len(clip))], small)
    stored = pq.read_table(tmp_path/filed[0]["path"])
    plain = np.stack([stored[name] for name in "xyz"], 1).reshape(clip.shape)
    np.testing.assert_allclose(plain, seen_by(clips[3], picture), atol=1e-5)
    assert read_recording(tmp_path/filed[0]["path"])[1] == small


@shapes
def test_a_pose_file_knows_its_size(picture, tmp_path, clips):
    if not find_spec("pose_format"): pytest.skip("needs python setup_venv.py dev capture")
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions
    hand = seen_by(clips[4], picture)[:, PARTS["right_hand"]][:, None]
    part = PoseHeaderComponent("RIGHT_HAND_LANDMARKS", [str(number) for number in range(21)], [], [], "XYZC")
    body = NumPyPoseBody(30, np.nan_to_num(hand*[*picture, 1]), (~np.isnan(hand[..., 0])).astype(np.float32))
    with open(tmp_path/"one.pose", "wb") as file:
        Pose(PoseHeader(.1, PoseHeaderDimensions(*picture, 1000), [part]), body).write(file)
    clip, facts, _ = read_source(Source(tmp_path/"one.pose", "one.pose", "pose"), ExtractionConfig())
    assert (facts["width"], facts["height"]) == picture
    np.testing.assert_allclose(clip[:, PARTS["right_hand"]], clips[4][:, PARTS["right_hand"]], atol=1e-5)


@pytest.mark.parametrize("text", ["", "1280", "1280x", "x720", "1280×720", "-4x3", "1e3x100", "0x720", "100x501"])
def test_a_size_that_no_camera_has_is_one_line(clips, tmp_path, text):
    path = tmp_path/"clip.parquet"
    write_clip(path, clips[0], picture=(1280, 720))
    pq.write_table(pq.read_table(path).replace_schema_metadata({"asl_nb.picture": text}), path)
    with pytest.raises(InputError) as caught: read_clip(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_pandas_keeps_other_metadata_apart(clips, tmp_path):
    "A file that another program has read and written again without our entry counts as 4:3, as any other."
    write_clip(tmp_path/"one.parquet", clips[0], picture=(1280, 720))
    pq.read_table(tmp_path/"one.parquet").to_pandas().to_parquet(tmp_path/"two.parquet")
    clip, picture, _ = read_recording(tmp_path/"two.parquet")
    if picture is None: np.testing.assert_array_equal(clip, clips[0])
    else: assert picture == (1280, 720)
    shutil.copy(tmp_path/"one.parquet", tmp_path/"three.parquet")
    assert read_recording(tmp_path/"three.parquet")[1] == (1280, 720)
