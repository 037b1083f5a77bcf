"""Every row of the table "What you have, and what to type" is made and typed; a model answers without depth."""
import json
import os
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from asl_nb.capture.conversion import write_pose
from asl_nb.capture.extractor import load_holistic
from asl_nb.capture.keypoints import keypoints_from_clip, read_pose, write_keypoints
from asl_nb.capture.readers import TimeSpan, read_landmarks
from asl_nb.capture.skeletons import OPENPOSE, WHOLEBODY, clip_from_points, points_from_clip
from asl_nb.capture.tables import read_labels
from asl_nb.cli import app
from asl_nb.core.errors import InputError
from asl_nb.data.clips import read_clip, write_clip
from asl_nb.data.datasets import load_folder
from asl_nb.data.landmarks import PARTS
from asl_nb.data.synthetic import Signer, perform
from asl_nb.evaluation.prediction import clip_logits, open_for_prediction
from notebooks import NBS, markdown

SHARED = Path(__file__).resolve().parents[2]/"shared"/"data"
VIDEO = SHARED/"videos"/"msl150_yo_001.mp4"
ROWS = [[cell.strip() for cell in line.strip(" |").split(" | ")]
        for line in markdown(NBS/"capture"/"05_readers.ipynb").splitlines() if "| `asl-nb " in line]


@pytest.fixture(scope="module")
def clip():
    return perform("please", Signer(), seed=2, missing=False)


def library(name):
    return pytest.importorskip(name, reason="needs python setup_venv.py dev capture", exc_type=ImportError)


def need_holistic():
    try: load_holistic()
    except InputError as error: pytest.skip(str(error))


def real_images(folder, clip):
    cv2 = library("cv2")
    need_holistic()
    if not VIDEO.exists(): pytest.skip("the recordings in ../shared/data/videos are not on this machine")
    folder.mkdir()
    video, number = cv2.VideoCapture(str(VIDEO)), 0
    while (read := video.read())[0]:
        if number % 3 == 0: cv2.imwrite(str(folder/f"frame_{number}.jpg"), read[1])
        number += 1


def real_video(path, clip):
    need_holistic()
    if not VIDEO.exists(): pytest.skip("the recordings in ../shared/data/videos are not on this machine")
    path.symlink_to(VIDEO)


def write_openpose(folder, clip):
    folder.mkdir()
    parts = ("pose_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d")
    for t, frame in enumerate(points_from_clip(clip, OPENPOSE)):
        person = dict(zip(parts, (part.ravel().tolist() for part in np.split(frame, [25, 46]))))
        text = json.dumps({"people": [person | {"face_keypoints_2d": []}]})
        (folder/f"clip_{t:012d}_keypoints.json").write_text(text)


def write_wholebody(path, clip):
    points = points_from_clip(clip, WHOLEBODY)[:, None]
    np.savez(path, keypoints=points[..., :2], scores=points[..., 2])


def recordings(*names):
    def write(folder, clip):
        for number, name in enumerate(names):
            (folder/name).parent.mkdir(parents=True, exist_ok=True)
            np.save(folder/name, keypoints_from_clip(perform("please", Signer(), seed=number, missing=False)))
    return write


def wide_parquet(path, clip):
    names = ["frame", *(f"{axis}_right_hand_{number}" for axis in "xyz" for number in range(21))]
    pq.write_table(pa.table({name: [0., 1.] for name in names}), path)


def pose_file(path, clip):
    library("pose_format")
    write_pose(path, clip)


WLASL = [{"gloss": "book", "instances": [{"video_id": "69241", "frame_start": 1, "frame_end": -1, "signer_id": 118}]},
         {"gloss": "drink", "instances": [{"video_id": "65225", "frame_start": 5, "frame_end": 14, "signer_id": 90}]}]
MSASL = [{"url": "https://www.youtube.com/watch?v=C37R_Ix8-qs", "clean_text": sign, "signer_id": 4, "start_time": start,
          "end_time": start + .3, "file": "a lesson"} for sign, start in (("match", 0.), ("fail", .4))]


def pose_of_openpose(path, clip):
    library("pose_format")
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderDimensions
    from pose_format.utils.cocowholebody133_header import cocowholebody_components
    points = points_from_clip(clip, WHOLEBODY)[:, None]
    header = PoseHeader(.2, PoseHeaderDimensions(640, 480, 0), cocowholebody_components())
    with open(path, "wb") as file: Pose(header, NumPyPoseBody(30, points[..., :2], points[..., 2])).write(file)


def text(content):
    return lambda path, clip: path.write_text(content)


# what is there -> what to make, by name, and what the answer or the dataset holds
GUESSES = "%"
MADE = {
    "a video": ({"clip.mp4": real_video}, GUESSES),
    "a folder of numbered images": ({"frames": real_images}, GUESSES),
    "a `.pose` file of MediaPipe": ({"clip.pose": pose_file}, GUESSES),
    "a `.pose` file with points of OpenPose or COCO-WholeBody": ({"clip.pose": pose_of_openpose}, GUESSES),
    "a clip in asl-signs format": ({"clip.parquet": write_clip}, GUESSES),
    "a folder `0.npy`, `1.npy` … of 1,662, 258 or 126 numbers": ({"frames": write_keypoints}, GUESSES),
    "one `.npy` of such rows":
        ({"clip.npy": lambda path, clip: np.save(path, keypoints_from_clip(clip, 258))}, GUESSES),
    "a folder of OpenPose JSON (BODY_25, hands)": ({"openpose": write_openpose}, GUESSES),
    "COCO-WholeBody, `.json`, `.npy` or `.npz`": ({"clip.npz": write_wholebody}, GUESSES),
    "recordings in `person/sign/` folders":
        ({"recordings": recordings("anna/book/1.npy", "ben/drink/1.npy")}, {("anna", "book"), ("ben", "drink")}),
    "ASL Citizen's table":
        ({"videos": recordings("12-DOG.npy", "13-CAT.npy"),
          "train.csv": text("Participant ID,Video file,Gloss\nP1,12-DOG.npy,DOG1\nP2,13-CAT.npy,CAT\n")},
         {("P1", "DOG1"), ("P2", "CAT")}),
    "WLASL's list": ({"videos": recordings("69241.npy", "65225.npy"), "WLASL_v0.3.json": text(json.dumps(WLASL))},
                     {("118", "book"), ("90", "drink")}),
    "MS-ASL's list": ({"videos": recordings("C37R_Ix8-qs.npy"), "MSASL_train.json": text(json.dumps(MSASL))},
                      {("4", "match"), ("4", "fail")}),
    "AUTSL's labels":
        ({"videos": recordings("signer0_sample1_color.npy", "signer3_sample2_color.npy"),
          "train_labels.csv": text("signer0_sample1,41\nsigner3_sample2,7\n")}, {("signer0", "41"), ("signer3", "7")}),
    "LSA64's videos": ({"videos": recordings("001_004_002.npy", "002_005_001.npy")}, {("004", "001"), ("005", "002")}),
    "a file of asl-fingerspelling": ({"train.parquet": wide_parquet}, "is a file of asl-fingerspelling"),
    "any of these, for another program":
        ({"clip.npy": lambda path, clip: np.save(path, keypoints_from_clip(clip))}, "clip.pose"),
    "a long recording, to be annotated in ELAN": ({"clip.pose": pose_file}, "signs in clip.eaf")}


def test_every_row_of_the_table_is_made():
    assert [row[0] for row in ROWS] == list(MADE)


@pytest.mark.parametrize("have, typed", [row[:2] for row in ROWS], ids=lambda text: text[:40])
def test_what_you_have_gives_what_the_table_says(have, typed, tmp_path, clip, monkeypatch):
    made, wanted = MADE[have]
    if "convert" in typed: library("pose_format")
    if "--eaf" in typed: pytest.importorskip("pympi", reason="writing .eaf needs python setup_venv.py dev capture")
    for name, make in made.items(): make(tmp_path/name, clip)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, shlex.split(typed.strip("`"))[1:])
    if "refused" in [row[2] for row in ROWS if row[0] == have][0]:
        assert done.exit_code == 2 and wanted in done.output and done.output.count("\n") <= 2
        return
    assert done.exit_code == 0, done.output
    if isinstance(wanted, str):
        assert wanted in done.output
        return
    data = load_folder("dataset", progress=False)
    assert set(zip(data.participants, (data.classes[label] for label in data.labels))) == wanted


def test_a_part_of_a_recording_is_cut_by_frames_and_by_seconds(tmp_path, clip):
    np.save(tmp_path/"clip.npy", keypoints_from_clip(clip))
    for span, start, stop in ((TimeSpan(5, 14, True), 4, 14), (TimeSpan(5, in_frames=True), 4, None),
                              (TimeSpan(.2, .5), 6, 15)):
        found = read_landmarks(tmp_path/"clip.npy", span=span)[0]
        np.testing.assert_array_equal(found, clip[start:stop])
    whole, _, facts = read_landmarks(tmp_path/"clip.npy", span=TimeSpan(500, 540, True))
    assert len(whole) == len(clip) and "cut already" in facts["notes"][0]


def test_convert_comes_back_equal(tmp_path, clip):
    library("pose_format")
    path = write_pose(tmp_path/"clip.pose", clip, picture=(1920, 1080))
    np.testing.assert_allclose(read_pose(path)[0], clip, atol=1e-5)


def test_signs_come_back_from_elan(tmp_path):
    elan = pytest.importorskip("pympi", reason="writing .eaf needs python setup_venv.py dev capture").Elan
    from asl_nb.evaluation.prediction import Guess
    from asl_nb.live.elan import write_eaf
    from asl_nb.live.recognizer import SignEnded
    events = [SignEnded(1., .25, "hello", "", (Guess("hello", .9),)), SignEnded(2., 1.2, None, "too short")]
    for _ in range(2): assert write_eaf(tmp_path/"a.eaf", events, tmp_path/"a.mp4") == 1
    back = elan.Eaf(tmp_path/"a.eaf")
    assert back.get_annotation_data_for_tier("sign") == [(250, 1000, "hello")]
    assert [each[:3] for each in back.get_annotation_data_for_tier("probability")] == [(250, 1000, "0.90")]
    assert os.listdir(tmp_path) == ["a.eaf"]


@pytest.mark.skipif(not (SHARED/"webcam_asl").is_dir(),
                    reason="the recordings in ../shared/data/webcam_asl are not on this machine")
def test_without_depth_and_face_a_model_answers_the_same():
    model, classes = open_for_prediction()
    table = pd.read_csv(SHARED/"webcam_asl"/"train.csv")
    same = {"no depth": 0, "OpenPose": 0, "COCO-WholeBody": 0, "unknown depth": 0}
    for path in table[table.sign.isin(classes)].sample(100, random_state=0).path:
        clip = read_clip(SHARED/"webcam_asl"/path)
        flat = clip*np.float32([1, 1, 0])
        answers = {"no depth": flat, "unknown depth": flat + np.float32([0, 0, np.nan])}
        for each in (OPENPOSE, WHOLEBODY):
            answers[each.name] = clip_from_points(points_from_clip(clip, each), each, (640, 480))
        first = int(clip_logits(model, clip).argmax())
        for name, other in answers.items(): same[name] += int(clip_logits(model, other).argmax()) == first
    assert min(same.values()) >= 98, same


def test_a_model_is_told_of_another_extractor(tmp_path, clip, capsys):
    from asl_nb.cli import note_other_extractor
    from asl_nb.evaluation.prediction import MODEL_IN_THE_BOX
    from asl_nb.training.manifest import manifest_beside, write_manifest
    manifest = manifest_beside(MODEL_IN_THE_BOX)
    manifest.reproduction.extractors = ["MediaPipe Holistic 0.10.14, models 1a2b3c4d"]
    write_manifest(tmp_path/"model_final_manifest.json", manifest)
    note_other_extractor(tmp_path/"model.pth", manifest.reproduction.extractors)
    note_other_extractor(MODEL_IN_THE_BOX, ["OpenPose"]) # its record does not say
    assert capsys.readouterr().err == ""
    note_other_extractor(tmp_path/"model.pth", ["OpenPose"])
    told = capsys.readouterr().err
    assert told.startswith("these landmarks are by OpenPose, and this model was trained on those by MediaPipe Holistic")
    assert told.count("\n") == 1


def test_hands_of_a_mirrored_clip_change_sides(tmp_path, clip):
    from asl_nb.capture.readers import ReadingConfig
    right = clip.copy()
    right[:, PARTS["left_hand"]] = np.nan
    np.save(tmp_path/"clip.npy", keypoints_from_clip(right))
    turned = read_landmarks(tmp_path/"clip.npy", ReadingConfig(mirrored=True))[0]
    assert np.isnan(turned[:, PARTS["right_hand"]]).all() and not np.isnan(turned[:, PARTS["left_hand"]]).any()


def damaged(content, rng):
    "The bytes of a file, cut off, changed or shortened; in JSON also with another value."
    content, place = bytearray(content), int(rng.integers(len(content)))
    how = rng.integers(4)
    if how == 0: return bytes(content[:place])
    if how == 1: content[place] = rng.integers(256)
    elif how == 2: del content[place:place + int(rng.integers(1, 50))]
    else: content = content.replace(b"1", (b"null", b"-1", b"1e999", b"[]", b"{}")[rng.integers(5)], 1)
    return bytes(content)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["openpose", "clip.npz", "clip.npy", "mmpose.json", "wlasl.json", "msasl.json"])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, clip, name):
    few, read = clip[:6], read_landmarks
    path = tmp_path/name
    if name == "openpose":
        write_openpose(path, few)
        path = path/"clip_000000000003_keypoints.json"
    elif name == "clip.npz": write_wholebody(path, few)
    elif name == "clip.npy": np.save(path, points_from_clip(few, WHOLEBODY))
    elif name == "mmpose.json":
        frames = [{"frame_id": t, "instances": [{"keypoints": frame[:, :2].tolist(),
                                                 "keypoint_scores": frame[:, 2].tolist()}]}
                  for t, frame in enumerate(points_from_clip(few, WHOLEBODY))]
        path.write_text(json.dumps({"instance_info": frames}))
    else:
        path.write_text(json.dumps(WLASL if name == "wlasl.json" else MSASL))
        read = read_labels
    good, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(60):
        path.write_bytes(damaged(good, rng))
        try: read(tmp_path/name)
        except InputError as error:
            refused += 1
            assert str(tmp_path) in str(error) and "\n" not in str(error)
    assert refused > 10
