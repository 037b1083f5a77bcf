"""Files that lie: each is refused in one line, in bounded time and memory, and nothing outside their folder is touched.

Here stands one fault after the other; `make fuzz` makes a thousand at random. Every file is read in a process of its
own with limits (`tests/hostile.py`). The faults are harmless to other people's libraries: what they test is our guard.
"""
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from fuzz import fuzz
from hostile import (KINDS, clip_of, in_limits, judge, lacking, make_dataset, make_manifest, read_in_limits, untrained,
                     write_frames)
from typer.testing import CliRunner

from asl_nb.cli import app
from asl_nb.core.errors import InputError, readable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of time and memory are set as Linux does it")
READ = [pytest.param(kind, id=kind.replace(" ", "_")) for kind in KINDS]
JSON = ("sign map", "manifest", "result", "configuration", "record of an extraction")
AS_JSON = [pytest.param(kind, id=kind.replace(" ", "_")) for kind in JSON]


@pytest.fixture
def good(tmp_path):
    "Makes a good file of a kind; skips where a library is missing."
    def make(kind):
        if lacking(kind): pytest.skip(f"{lacking(kind)} is not installed")
        folder = tmp_path/"good"
        folder.mkdir()
        return KINDS[kind].make(folder)
    return make


def refused(outcome, *parts):
    "The one line with which a file was refused; it holds all of the parts."
    assert outcome.kind == "refused", "\n".join(outcome[:2])
    for part in parts: assert part in outcome.detail, outcome.detail
    return outcome.detail


def asl_nb(*words):
    "Run the command; what it printed must be fit for a terminal. Returns exit code, output, errors."
    done = CliRunner().invoke(app, list(map(str, words)))
    if done.exception and not isinstance(done.exception, SystemExit): raise done.exception
    for line in (done.stdout + done.stderr).splitlines(): assert readable(line, 10**6) == line, line
    return done.exit_code, done.stdout, done.stderr


# --- what is no file, or no file of its kind -------------------------------------------------------------------------

@pytest.mark.parametrize("kind", READ)
def test_a_good_file_is_read(good, kind):
    outcome = read_in_limits(kind, good(kind))
    assert outcome.kind == "right", outcome.detail


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "huge", "empty", "text"])
@pytest.mark.parametrize("kind", READ)
def test_another_thing_in_its_place_is_refused(good, kind, what):
    path = good(kind)
    path.unlink()
    if what == "pipe": os.mkfifo(path)
    elif what == "device": path.symlink_to("/dev/zero")
    elif what == "folder": path.mkdir()
    elif what == "huge":
        with open(path, "wb") as file: file.truncate(5*10**12) # a hole: no disk is filled
    else: path.write_text("" if what == "empty" else "Not at all what it should be.\n"*3)
    refused(read_in_limits(kind, path))


@pytest.mark.parametrize("kind", AS_JSON)
def test_brackets_within_brackets_are_refused(good, kind):
    path = good(kind)
    path.write_text("["*200_000)
    refused(read_in_limits(kind, path), "nested too deeply")


@pytest.mark.parametrize("kind", READ)
def test_files_damaged_at_random(kind, tmp_path):
    "A few of those of `make fuzz`, with a seed of their own."
    if lacking(kind): pytest.skip(f"{lacking(kind)} is not installed")
    outcomes = [(done, outcome) for _, done, outcome in fuzz(kind, 8, "test", tmp_path)]
    assert outcomes.pop(0)[1].kind == "right"
    bad = [(done, *outcome[:2]) for done, outcome in outcomes if outcome.kind not in ("right", "refused")]
    assert not bad, bad


# --- nothing outside the folder --------------------------------------------------------------------------------------

@pytest.mark.parametrize("way", ["../outside.parquet", "train_landmark_files/../../outside.parquet", "absolute", "link",
                                 "train.csv"])
@pytest.mark.parametrize("act", ["remove", "overwrite"])
def test_nothing_outside_a_dataset_is_deleted(good, way, act):
    path = good("record of an extraction")
    folder, outside = path.parent, path.parent.parent/"outside.parquet"
    if way == "absolute": way = str(outside)
    if way == "link":
        (folder/"train_landmark_files"/"link").symlink_to(outside.parent)
        way = "train_landmark_files/link/outside.parquet"
    content = json.loads(path.read_text())
    for record in content["recordings"].values(): record["clips"][0]["path"] = way
    path.write_text(json.dumps(content))
    before = (folder/"train.csv").read_text()
    words = ["remove", folder, "--participant", "ana", "--yes"] if act == "remove" else [
        "extract", folder.parent/"sources", "--out", folder, "--participant", "by-folder", "--overwrite"]
    code, _, error = asl_nb(*words)
    assert code == 2 and len(error.splitlines()) == 1 and "extraction.json" in error, error
    assert outside.read_text() == "keep" and (folder/"train.csv").read_text() == before


@pytest.mark.parametrize("name", ["../outside", "/tmp/asl_nb_outside", "asl_model_v1\n", ""])
def test_a_checkpoint_names_no_place_to_write(good, name):
    import torch
    path = good("checkpoint")
    content = torch.load(path, weights_only=True)
    content["name"] = name
    torch.save(content, path)
    before = sorted(path.parent.parent.rglob("*"))
    refused(read_in_limits("checkpoint", path), "name")
    assert sorted(path.parent.parent.rglob("*")) == before and not list(Path("/tmp").glob("asl_nb_outside*"))


def test_an_exported_model_reads_no_other_file(good, monkeypatch):
    path = good("exported model")
    import onnx
    model = onnx.load(path)
    weight = next(each for each in model.graph.initializer if len(each.raw_data) > 64)
    (path.parent/"outside.bin").write_bytes(weight.raw_data)
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "outside.bin"
    weight.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    monkeypatch.chdir(path.parent) # where it would be read from
    refused(read_in_limits("exported model", path), "another file")


# --- memory and time that a file asks for ----------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "value"), [("dim", 8192), ("lstm_layers", 10**9), ("conv_blocks", 10**9),
    ("max_len", 10**12), ("num_classes", 10**9), ("kernel_size", 10**9), ("dilations", [10**12]*3),
    ("blocks", ["x"]*10**5), ("dim", "192"),     ("num_heads", 0), ("dim", float("nan")), ("unknown", 1)])
def test_settings_ask_for_too_much(good, name, value):
    import torch
    path = good("weights")
    content = torch.load(path, weights_only=True)
    content["settings"] = dict(content["settings"]) | {name: value}
    torch.save(content, path)
    outcome = read_in_limits("weights", path)
    refused(outcome)
    assert outcome.memory < 10**8 and outcome.seconds < 2


def test_weights_that_unpack_to_more_are_refused(good):
    path = good("weights")
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist(): target.writestr(name, source.read(name))
        target.writestr(f"{source.namelist()[0].split('/')[0]}/data/9999", bytes(5*10**7))
    path.write_bytes(packed.getvalue())
    refused(read_in_limits("weights", path))


@pytest.mark.parametrize("kind", ["rows", "frames"])
def test_a_clip_has_so_many_frames(tmp_path, kind):
    import pyarrow as pa
    import pyarrow.parquet as pq
    rows = 20_000 if kind == "rows" else 10_001*543
    frame = np.arange(rows, dtype=np.int32) if kind == "rows" else np.repeat(np.arange(10_001, dtype=np.int16), 543)
    part = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int8), ["face"])
    number = pa.array(np.zeros(rows, np.int16) if kind == "rows" else np.tile(np.arange(543, dtype=np.int16), 10_001))
    xyz = [pa.array(np.zeros(rows, np.float32))]*3
    pq.write_table(pa.table([frame, part, number, *xyz], ["frame", "type", "landmark_index", "x", "y", "z"]),
                   tmp_path/"clip.parquet")
    outcome = read_in_limits("clip", tmp_path/"clip.parquet")
    refused(outcome, "10,000")
    assert outcome.memory < 3*10**8


@pytest.mark.parametrize("rate", [.001, 0, -1, 1e9, float("nan")])
def test_a_pose_file_asks_for_millions_of_frames(good, rate):
    path = good(".pose")
    from pose_format import Pose
    pose = Pose.read(path.read_bytes())
    pose.body.fps = rate
    with open(path, "wb") as file: pose.write(file)
    outcome = read_in_limits(".pose", path)
    assert outcome.kind == "right" and outcome.memory < 3*10**8 # no camera's rate: taken as 30, and noted
    from asl_nb.capture.keypoints import read_pose
    clip, _, facts = read_pose(path)
    assert len(clip) == len(pose.body.data) and "which no camera takes; read as 30" in facts["notes"][-1]


def test_a_packed_index_with_moved_lengths(good):
    import hashlib

    import pyarrow as pa
    import pyarrow.parquet as pq
    path = good("packed store")
    table = pq.read_table(path)
    frames = table["frames"].to_pylist()
    frames[:2] = [frames[0] + 1, frames[1] - 1]
    pq.write_table(table.set_column(table.column_names.index("frames"), "frames", pa.array(frames)), path)
    summary = json.loads(path.with_name("store.json").read_text())
    summary["index"] = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    path.with_name("store.json").write_text(json.dumps(summary))
    refused(read_in_limits("packed store", path))


def change(path, *place, value):
    "Put a value into a JSON file."
    content = inner = json.loads(path.read_text())
    for name in place[:-1]: inner = inner[name]
    inner[place[-1]] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(("place", "value"), [
    (("reproduction", "clips", "train"), 10**12), (("final_results", "test", "top1"), 9.5),
    (("final_results", "test", "top1"), "x"),
    (("final_results", "test", "per_participant"), 3), (("final_results", "test", "clips"), -1),
    (("reproduction", "class_names"), ["a\x1b[2K"]), (("reproduction", "participants"), {"train": ["../x\n"]}),
    (("model_info", "file"), "../../outside.pth"), (("training_config", "synthetic_clips"), 10**9)])
def test_a_manifest_with_nonsense(good, place, value):
    path = good("manifest")
    change(path, *place, value=value)
    refused(read_in_limits("manifest", path), place[-1])


# --- answers that are not right --------------------------------------------------------------------------------------

def damaged_weights(path, change):
    import torch
    content = torch.load(path, weights_only=True)
    content["state_dict"] = dict(content["state_dict"])
    change(content)
    torch.save(content, path)


def set_weight(part, value):
    def change(content):
        name = next(name for name in content["state_dict"] if part in name)
        content["state_dict"][name] = value(content["state_dict"][name])
    return change


@pytest.mark.parametrize("change", [
    set_weight("running_var", lambda old: old*float("nan")), set_weight("running_var", lambda old: -old - 1),
    set_weight("running_mean", lambda old: old + float("inf")), set_weight("weight", lambda old: old + 1e35),
    set_weight("weight", lambda old: old.double()), set_weight("weight", lambda old: old + 1j),
    set_weight("weight", lambda old: old.int()), set_weight("weight", lambda old: old.to_sparse()),
    set_weight("weight", lambda old: old[:1]), set_weight("weight", lambda old: [1.]),
    lambda content: content.update(temperature=1e-300), lambda content: content.update(temperature=-1.),
    lambda content: content.update(temperature=10**400), lambda content: content.update(classes=["a", "a", "b"]),
    lambda content: content.update(classes=["a", "", "b"]),
    lambda content: content.update(classes=["a", "\x1b[2K", "b"]),
    lambda content: content.update(classes="abc"), lambda content: content.update(data_kind=content["state_dict"]),
    lambda content: content["state_dict"].popitem(), lambda content: content.pop("settings")])
def test_weights_that_would_answer_nonsense(good, change):
    path = good("weights")
    damaged_weights(path, change)
    refused(read_in_limits("weights", path))


def moment(name, number):
    "Sets the first number of a moment of the optimiser."
    def change(content): content["optimizer"]["state"][0][name].view(-1)[0] = number
    return change


def numpy_state(place, value):
    def change(content): content["ranks"][0]["random"]["numpy"][place] = value
    return change


@pytest.mark.parametrize(("change", "field"), [
    (numpy_state(2, 625), "ranks.0.random.numpy.2"), (numpy_state(2, -1), "ranks.0.random.numpy.2"),
    (numpy_state(3, 2), "ranks.0.random.numpy.3"), (moment("exp_avg_sq", -1.), "exp_avg_sq"),
    (moment("exp_avg", float("nan")), "exp_avg"), (moment("step", -1), "step"),
    (lambda content: content.update(ranks=content["ranks"]*2), "ranks"),
    (lambda content: content.update(steps="5"), "steps"),
    (lambda content: content["ranks"][0]["random"]["python"][1].pop(), "ranks.0.random.python.1")])
def test_a_checkpoint_with_impossible_numbers(good, change, field):
    import torch
    path = good("checkpoint")
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    refused(read_in_limits("checkpoint", path), field)


def test_moments_of_the_optimiser_may_be_larger_than_weights(good):
    import torch
    path = good("checkpoint")
    content = torch.load(path, weights_only=True)
    moment("exp_avg_sq", 1e9)(content)
    torch.save(content, path)
    assert read_in_limits("checkpoint", path).kind == "right"


@pytest.mark.parametrize("share", [.2, .5, .8])
def test_one_changed_byte_in_the_weights(good, share):
    import torch
    path = good("weights")
    content = bytearray(path.read_bytes())
    large = [weight for weight in torch.load(path, weights_only=True)["state_dict"].values() if weight.numel() > 16]
    weight = large[int(share*len(large))].numpy().tobytes() # between weights, the file has padding that means nothing
    content[content.index(weight) + len(weight)//2] ^= 1
    path.write_bytes(content)
    refused(read_in_limits("weights", path), "is damaged")


@pytest.mark.parametrize(("name", "value"), [("temperature", "1e-300"), ("temperature", "nan"),
    ("classes", '["a","a","b"]'), ("classes", '["a","","b"]'), ("classes", "["*50_000), ("classes", '{"a": 1}'),
    ("max_len", "1e99"), ("max_len", "-3"), ("data_kind", "\x1b[2K"), ("format", "\x1b[2K")])
def test_an_exported_model_with_other_metadata(good, name, value):
    path = good("exported model")
    import onnx
    model = onnx.load(path)
    next(entry for entry in model.metadata_props if entry.key == name).value = value
    path.write_bytes(model.SerializeToString())
    refused(read_in_limits("exported model", path))


def test_an_exported_model_that_answers_nothing_finite(good):
    path = good("exported model")
    import onnx
    model = onnx.load(path)
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT and len(weight.dims) == 2:
            weight.raw_data = np.full(weight.dims, np.nan, np.float32).tobytes()
    path.write_bytes(model.SerializeToString())
    refused(read_in_limits("exported model", path))


# --- recordings that cannot be what they should be -------------------------------------------------------------------

def written(path, clip):
    "Write a clip without the checks of `write_clip`."
    import pyarrow as pa
    import pyarrow.parquet as pq
    from asl_nb.data.landmarks import PARTS
    sizes = [part.stop - part.start for part in PARTS.values()]
    part = np.repeat(list(PARTS), sizes)
    index = np.concatenate([np.arange(size, dtype=np.int16) for size in sizes])
    frame = np.repeat(np.arange(len(clip), dtype=np.int16), 543)
    columns = [frame, np.tile(part, len(clip)), np.tile(index, len(clip)), *clip.reshape(-1, 3).T.astype(np.float32)]
    pq.write_table(pa.table(columns, ["frame", "type", "landmark_index", "x", "y", "z"]), path)
    return path


@pytest.mark.parametrize("factor", [1e30, 1920, [1920, 1080, 1], [640, 480, 640]])
def test_a_clip_in_pixels(tmp_path, factor):
    refused(read_in_limits("clip", written(tmp_path/"clip.parquet", clip_of()*factor)), "image")


@pytest.mark.parametrize("seen", [0, 1])
def test_a_clip_in_which_nobody_is_seen_has_no_sign(good, seen):
    from asl_nb.evaluation.prediction import predict
    weights, clip = good("weights"), clip_of()
    clip[:, seen:] = np.nan
    path = written(weights.with_name("clip.parquet"), clip)
    refused(in_limits(lambda: predict(path, weights)), "nobody")
    code, out, error = asl_nb("predict", weights, path)
    assert code == 2 and not out and "nobody" in error


def test_training_on_clips_in_which_nobody_is_seen(good):
    from asl_nb.training.configuration import TrainingConfig
    from asl_nb.training.trainer import load_data
    folder = good("table").parent
    config = TrainingConfig.best(data=str(folder), test_participants="ben")
    assert in_limits(lambda: load_data(config)).kind == "right"
    for path in folder.rglob("*.parquet"): written(path, clip_of()*np.nan)
    refused(in_limits(lambda: load_data(config)), "nobody is seen in any of the 3 training clips")


def test_a_table_that_numbers_its_signers(good):
    from asl_nb.data.datasets import load_splits
    path = good("table")
    rows = [f"train_landmark_files/{row}.parquet,{row},{row},hello" for row in range(10_001)]
    path.write_text("\n".join(["path,participant_id,sequence_id,sign", *rows]))
    refused(in_limits(lambda: load_splits(path.parent, skip_bad=True)), str(path.parent), "10,001 signers")


@pytest.mark.parametrize("factor", [1920, 1e300])
def test_key_points_in_pixels(tmp_path, factor):
    folder = write_frames(tmp_path/"frames")
    for path in folder.glob("*.npy"): np.save(path, np.load(path).astype(np.float64)*factor)
    refused(read_in_limits("key points", folder/"0.npy"), "coordinate")


def test_an_extraction_whose_only_source_failed(good):
    record = good("record of an extraction")
    source = write_frames(record.parent.parent/"more"/"ben"/"bye"/"c")
    (source/"0.npy").write_bytes(b"")
    more = record.parent.parent/"more"
    code, _, error = asl_nb("extract", more, "--out", record.parent, "--participant", "by-folder")
    assert code == 2 and "0.npy" in error


@pytest.mark.parametrize("clip", [0, 2, 5])
def test_a_store_that_was_changed(good, clip):
    path = good("packed store")
    data = path.with_name("clips.npy")
    content = bytearray(data.read_bytes())
    content[128 + (len(content) - 128)*clip//6 + 1000] ^= 1
    data.write_bytes(content)
    refused(read_in_limits("packed store", path), "damaged")
    code, _, error = asl_nb("pack", path.parent, "--verify")
    assert code == 2 and "damaged" in error and len(error.splitlines()) == 1, error


def test_a_whole_store_is_verified(good):
    code, out, _ = asl_nb("pack", good("packed store").parent, "--verify")
    assert code == 0 and "6" in out


@pytest.mark.parametrize("content", ['{"a": 0, "a": 1}', '{"hello": -1, "please": 1, "bye": 2}', '{"hello": 1.5}',
    '{"hello": 1000000000000, "please": 1, "bye": 2}', '{"hello": true, "please": 2, "bye": 3}',
    '{"hello": 1, "please": 1}', '{"hello": 0, "please": 1, "bye": 2, "\\u001b[2K": 3}',
    '{"hello": 0, "please": 1, "bye": 2, "": 3}', "[1, 2]", "7", "null"])
def test_a_sign_map_with_nonsense(good, content):
    path = good("sign map")
    path.write_text(content)
    refused(read_in_limits("sign map", path), "sign_to_prediction_index_map.json")


@pytest.mark.parametrize("change", [
    lambda text: text.replace("hello", "hello,more", 1), lambda text: text.replace("path", "path,path ", 1),
    lambda text: text.replace("path", "sign", 1), lambda text: text.replace("ana", "a\x1b[2Kna"),
    lambda text: text.replace("train_landmark_files", "../train_landmark_files", 1),
    lambda text: text.replace("train_landmark_files", "/etc", 1), lambda text: text.replace("hello", "h"*10**6),
    lambda text: text.replace("\n", "\n\x00"), lambda text: "path," + ",".join(f"c{n}" for n in range(5000)) + text])
def test_a_table_with_nonsense(good, change):
    path = good("table")
    path.write_text(change(path.read_text()))
    refused(read_in_limits("table", path), "train.csv")


def test_a_table_that_is_not_text(good):
    path = good("table")
    path.write_bytes(path.read_bytes().replace(b"ana", b"\xe9\xff"))
    refused(read_in_limits("table", path), "train.csv")


# --- what reaches the terminal, and pages ----------------------------------------------------------------------------

def test_no_name_commands_the_terminal(tmp_path):
    "File names are the only names that cannot be refused; they are spelled out."
    folder = tmp_path/"data\n\x1b[2Kasl-nb: all is well"
    folder.mkdir()
    table = make_dataset(folder)
    for words in (["inspect", folder], ["inspect", folder, "--json"], ["inspect", tmp_path/"\udce9\x1b[2K"],
                  ["pack", folder, tmp_path/"packed\x1b[2K"], ["train", "--data", tmp_path/"none\x1b[2K"],
                  ["runs", folder], ["predict", folder/"a\nb.pth", table]):
        code, _, error = asl_nb(*words)
        assert code in (0, 2), error


def test_one_bad_manifest_does_not_hide_the_others(tmp_path):
    good = make_manifest(tmp_path)
    other = good.with_name("asl_model_v20200101_000000_final_manifest.json")
    other.write_text(good.read_text())
    change(other, "final_results", "test", "per_participant", value=[[1]])
    code, out, error = asl_nb("runs", tmp_path)
    assert code == 0 and "left out" in error and other.name in error
    assert good.name.removesuffix("_final_manifest.json") in out


def test_a_card_escapes_names(tmp_path):
    from asl_nb.training.card import write_card
    path = make_manifest(tmp_path)
    text = path.read_text().replace('"hello"', '"<script>alert(1)</script>"').replace('"please"', '"[x](http://y.z)|"')
    path.write_text(text)
    card = write_card(path, tmp_path/"card.md").read_text()
    assert "<script" not in card and "[x](http" not in card


def test_a_good_run_is_not_suspected(tmp_path):
    "The same random damage, done by hand, that would be refused if it were not undone."
    for kind in ("weights", "table", "manifest"):
        folder = tmp_path/kind
        folder.mkdir()
        path = KINDS[kind].make(folder)
        whole = path.read_bytes()
        KINDS[kind].mutate(path, random.Random(1))
        path.write_bytes(whole)
        assert read_in_limits(kind, path).kind == "right"


# --- no space, no memory ---------------------------------------------------------------------------------------------

ON_A_SMALL_DISK = """
import subprocess, sys
from asl_nb.cli import app
disk, *words = sys.argv[1:]
for _ in range(2):
    try: app(words)
    except SystemExit as end: print("exit", end.code, flush=True)
    subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)
"""


@pytest.fixture
def twice(tmp_path):
    "Runs a command on a disk of so many bytes, and again when the disk is larger: what it said, and the folder after."
    enter, disk = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"], tmp_path/"disk"
    disk.mkdir()
    if not shutil.which("unshare") or subprocess.run([*enter, f"mount -t tmpfs none '{disk}'"]).returncode:
        pytest.skip("a small disk needs user namespaces, which this system does not allow")

    def run(size, *words):
        program = [sys.executable, "-c", ON_A_SMALL_DISK, disk, *words]
        script = f"mount -t tmpfs -o size={size} none '{disk}' && \"$@\"; cp -r '{disk}' '{tmp_path}/after'"
        done = subprocess.run([*enter, script, "sh", *program], capture_output=True, text=True, cwd=tmp_path)
        return done.stdout.splitlines(), done.stderr, tmp_path/"after"
    return run


def test_packing_on_a_full_disk_goes_on_when_there_is_space(tmp_path, twice):
    from asl_nb.data.clips import read_clip, write_clip
    from asl_nb.data.store import open_store
    for number in range(480):  # every second one is long, and these are not asked for their length
        path = tmp_path/f"data/clips/{number}.parquet"
        if number < 2: write_clip(path, np.full((1 + 5*number, 543, 3), .5, np.float32))
        else: os.link(tmp_path/f"data/clips/{number % 2}.parquet", path)
    rows = "".join(f"clips/{number}.parquet,ana,{number},hello\n" for number in range(480))
    (tmp_path/"data/train.csv").write_text("path,participant_id,sequence_id,sign\n" + rows)
    (tmp_path/"data/sign_to_prediction_index_map.json").write_text('{"hello": 0}')
    said, errors, after = twice("4m", "pack", "data", "disk/store")
    assert [line for line in said if line.startswith("exit")] == ["exit 2", "exit 0"], errors
    message, = re.findall("asl-nb: .*", errors)
    assert "no space left" in message and "goes on where it stopped" in message
    assert not re.search(r"\b[01]/480", errors.partition(message)[2]), "the second call begins after the first round"
    store = open_store(after/"store")
    assert store.verify(progress=False) == 480 and not store.faults()
    np.testing.assert_array_equal(store[479], read_clip(tmp_path/"data/clips/1.parquet"))


def test_extracting_on_a_full_disk_goes_on_when_there_is_space(tmp_path, twice):
    (tmp_path/"takes/hello").mkdir(parents=True)
    for number in range(8):
        np.save(tmp_path/f"takes/hello/{number}.npy", np.random.default_rng(number).uniform(.2, .8, (4, 1662)))
    words = ["extract", "takes", "--out", "disk/clips", "--participant", "ana", "--jobs", "1"]
    said, errors, after = twice("120k", *words)
    assert [line for line in said if line.startswith("exit")] == ["exit 2", "exit 0"], errors
    message, = re.findall("asl-nb: .*", errors)
    assert "No space left" in message and "free some space" in message
    new, kept = map(int, re.search(r"(\d+) new clips .* (\d+) recordings were there already", "\n".join(said)).groups())
    assert new + kept == 8
    assert len(list(after.rglob("*.parquet"))) == 8 and not list(after.rglob("*.part"))


def read_with(room, path):
    "What comes of reading a clip with so many bytes of memory."
    import pyarrow
    from asl_nb.data.clips import read_clip

    def read():
        pyarrow.set_memory_pool(pyarrow.system_memory_pool())  # the usual one took its memory long ago
        return read_clip(path)
    return in_limits(read, room=room).kind


def train_with(room):
    "What a training says with so many bytes of memory."
    words = ["train", "--synthetic-signers", "3", "--synthetic-clips", "1", "--device", "cpu"]
    import_module("asl_nb.training.trainer")
    def train(): raise InputError(" ".join(map(str, asl_nb(*words))))
    return in_limits(train, room=room)


# In a process of their own: that of the tests has memory to spare, which earlier tests gave back to it.
def test_a_clip_is_not_to_blame_for_too_little_memory(tmp_path):
    from asl_nb.data.clips import write_clip
    write_clip(tmp_path/"long.parquet", np.random.default_rng(0).random((2000, 543, 3), np.float32))
    kinds = [untrained().submit(read_with, room*10**6, tmp_path/"long.parquet").result()
             for room in (10, 30, 40, 50, 60, 200)]
    assert {*kinds} == {"memory", "right"} and kinds[0] == "memory" and kinds[-1] == "right", kinds


def test_a_command_without_memory_says_so_in_one_line():
    outcome = untrained().submit(train_with, 10**8).result()
    line = refused(outcome, "2 ", "asl-nb: the memory is full; close other programs")
    assert "Traceback" not in line


# --- every path of every command -------------------------------------------------------------------------------------

READ_PATHS = """train --data {} --out out; train --resume {}
train --pretrained {} --out out
train --config {}.json --save-config out.json; train --config {}.toml --save-config out.json
crossval --data {} --folds 2 --out out; evaluate {} --data DATA; evaluate {}.onnx --data DATA
evaluate WEIGHTS --data {}; predict {}.pth CLIP; predict {}.onnx CLIP; predict WEIGHTS {}; export {} --out out.onnx
export WEIGHTS --data {} --out out.onnx; explain {} CLIP --out out.png; explain WEIGHTS {} --out out.png
evaluate-stream {} --data DATA; evaluate-stream WEIGHTS --data {}; live {}.pth --headless; live WEIGHTS {} --headless
extract {} --out out --jobs 1; extract {}.mp4 --out out --jobs 1; extract {}.pose --out out --jobs 1
extract SOURCES --out out --jobs 1 --sign {}.csv; remove {} --participant ana --yes; inspect {}
prepare --source {} --out out; prepare --source DATA --out out --signs {}.txt; runs {}; card {}; card {}.json
pack {} out; pack {} --verify; bench --quick --film {}"""
WRITTEN_PATHS = """train --save-config {}; train --save-config {}.toml; runs RUN --picture {}; card MANIFEST --out {}
prepare --source DATA --out {} --signs all --test-participants ana --table-only; pack DATA {}
synthesize {} --signers 1 --clips-per-sign 1; extract SOURCES --jobs 1 --out {}"""


def wrong_paths(folder, suffix):
    "What may stand in place of a file or a folder, by its name. Devices are links: what is written replaces a link."
    paths = {name: folder/f"{name}{suffix}" for name in ("missing", "folder", "pipe", "zero", "null", "loop")}
    paths["folder"].mkdir()
    os.mkfifo(paths["pipe"])
    for name in ("zero", "null"): paths[name].symlink_to(f"/dev/{name}")
    paths["loop"].symlink_to(paths["loop"])
    (folder/"file").write_text("")
    return paths | {"in a file": folder/"file"/f"x{suffix}", "bytes": folder/f"\udce9{suffix}",
                    "control": folder/f"a\n\x1b[2K{suffix}", "long": folder/("x"*300 + suffix),
                    "nowhere": folder/"no"/"such"/f"x{suffix}", "empty": Path(suffix or ".")}


def answer(words):
    "Call a command in this process. One line that refuses becomes the `InputError` that it was made of."
    done = CliRunner().invoke(app, words)
    line = done.stderr.strip()
    if done.exit_code == 0: return
    if done.exit_code != 2: raise done.exception
    notes = re.compile("synthetic signers|--participant was|comes with the program")
    told = [each for each in line.splitlines() if not notes.search(each)]
    usage = told[0].startswith("Usage: ")
    assert len(told) == 1 or usage, line
    raise InputError(told[-1]) if readable(told[-1], 10**6) == told[-1] else AssertionError(told[-1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "Good files for the other arguments of a command, by the names they have in the lists above."
    made = {}
    for name in ("benchmark", "export", "live.app", "live.streams", "evaluation.explanation", "evaluation.report",
                 "capture.extraction", "capture.recorder", "data.inspection", "data.preparation", "training.crossval"):
        import_module(f"asl_nb.{name}") # before the processes with limits begin
    for name, kind in (("WEIGHTS", "weights"), ("CLIP", "clip"), ("DATA", "table"), ("MANIFEST", "manifest")):
        made[name] = KINDS[kind].make(tmp_path_factory.mktemp(name))
    made["RUN"], made["DATA"] = made["MANIFEST"].parent, made["DATA"].parent
    return made | {"SOURCES": write_frames(tmp_path_factory.mktemp("sources")/"hello"/"a").parent.parent}


@pytest.mark.parametrize("line", re.split(r"\s*[;\n]\s*", f"{READ_PATHS};{WRITTEN_PATHS}"))
def test_every_path_of_every_command(whole, tmp_path, monkeypatch, line):
    words = [str(whole.get(word, word)) for word in line.split()]
    position = next(place for place, word in enumerate(words) if word.startswith("{}"))
    paths = wrong_paths(tmp_path, words[position].removeprefix("{}"))
    monkeypatch.chdir(tmp_path)

    def try_all():
        found = {}
        for name, path in paths.items():
            typed = [*words[:position], os.fspath(path), *words[position + 1:]]
            found[name] = judge(partial(answer, typed), lambda _: None)
        return found

    def check(found):
        good = ("refused", "right") if line in WRITTEN_PATHS else ("refused",)
        assert not (bad := {name: told for name, told in found.items() if told[0] not in good}), bad
    outcome = in_limits(try_all, check)
    assert outcome.kind == "right", f"{outcome.kind}\n{outcome.detail}"
    assert paths["pipe"].is_fifo()
