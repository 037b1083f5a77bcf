"""Files of every kind that the program reads, ways to damage them, and a process with limits to read them in.

Used by `tests/test_hostile.py`, which holds one fault after the other, and by `tests/fuzz.py`, which makes a thousand
at random. What a reader may do with a file: refuse it in one line (`InputError`), or accept it and answer right.
Nothing else: no other error, no answer that is not finite, no minute of work, no memory far beyond the file's own size,
and no file touched outside.
"""
import csv
import io
import json
import os
import resource
import signal
import sys
import traceback
from collections import namedtuple
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from small_export import small_export

from asl_nb.core.errors import InputError, readable

SECONDS, MEMORY = 20, 10**9  # for one file; memory beyond the file's own size
LONGEST_LINE = 800
NASTY = (None, True, -1, 0, 10**9, 10**40, 1e300, -1e-300, float("nan"), float("inf"), "", "x", "\x1b[2K\nall is well",
         "../../../outside", "/outside", "\udce9", "<script>alert(1)</script>", "é"*5000, [], {}, [[[]]],
         {"a": {"b": []}})


@dataclass
class Kind:
    "A kind of file: how a good one is made, how it is read, and what must be true of what was read."
    make: callable  # folder -> path of a good file, in a folder of its own
    read: callable  # path -> what was read
    check: callable  # what was read -> nothing; AssertionError if it is wrong
    mutate: callable  # path, random -> what was done; the file is another afterwards
    trains: bool = False  # whether reading goes on with a training


# --- the process -----------------------------------------------------------------------------------------------------

Outcome = namedtuple("Outcome", "kind detail seconds memory")  # kind: refused, right, or a fault in words


def resident():
    "Bytes of main memory that this process holds."
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages*os.sysconf("SC_PAGE_SIZE")


def judge(read, check):
    "Read a file, in this process: what came of it, and details."
    try: found = read()
    except InputError as error:
        line = str(error)
        if line.splitlines() != [line] or readable(line) != line: return "an error of several lines", line
        return ("refused", line) if len(line) <= LONGEST_LINE else ("an error too long to read", line)
    except MemoryError: return "memory", traceback.format_exc()
    except Exception: return "a traceback", traceback.format_exc()
    try: check(found)
    except Exception: return "a wrong answer", traceback.format_exc()
    return "right", ""


def in_child(answer, read, check, seconds, room):
    "The life of the process that reads: it is killed by the system when its time or memory is over."
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    everything = int(Path("/proc/self/statm").read_text().split()[0])*os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (everything + room,)*2)
    with open(os.devnull, "w") as nowhere: os.dup2(nowhere.fileno(), 2)
    kind, detail = judge(read, check)
    os.write(answer, json.dumps([kind, detail[-5000:]]).encode())


def in_limits(read, check=lambda found: None, size=0, seconds=SECONDS, room=6*10**9):
    "Call a reader in a process of its own, with limits of time and memory."
    before = resident()
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        try: in_child(writing, read, check, seconds, room)
        finally: os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe: said = pipe.read()
    _, status, usage = os.wait4(process, 0)
    memory = max(usage.ru_maxrss*1024 - before, 0)
    spent = usage.ru_utime + usage.ru_stime
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        late = number == signal.SIGALRM
        what = f"more than {seconds} seconds" if late else f"killed by {signal.Signals(number).name}"
        return Outcome(what, "", spent, memory)
    kind, detail = json.loads(said) if said else ("no answer", "")
    if memory > MEMORY + size: kind = f"{memory/1e9:.1f} GB of memory"
    return Outcome(kind, detail, spent, memory)


# --- damage ----------------------------------------------------------------------------------------------------------

def damage(content, random):
    "Bytes with one accident: cut off, a bit turned, a stretch of zeros or noise, a piece doubled, moved or lost."
    content, place = bytearray(content), random.randrange(max(len(content), 1))
    length = random.choice((1, 4, 64, 1000))
    accident = random.choice(("cut", "bit", "bits", "zeros", "noise", "double", "lose", "ones", "empty", "append"))
    if accident == "cut": content = content[:place]
    elif accident in ("bit", "bits"):
        for _ in range(1 if accident == "bit" else 20):
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    elif accident == "zeros": content[place:place + length] = bytes(len(content[place:place + length]))
    elif accident == "ones": content[place:place + length] = b"\xff"*len(content[place:place + length])
    elif accident == "noise": content[place:place + length] = random.randbytes(len(content[place:place + length]))
    elif accident == "double": content[place:place] = content[place:place + length]
    elif accident == "lose": del content[place:place + length]
    elif accident == "append": content += random.randbytes(length)
    else: content = bytearray()
    return bytes(content), accident


def damage_bytes(path, random):
    content, accident = damage(path.read_bytes(), random)
    path.write_bytes(content)
    return accident


def places(content, place=()):
    "Every place inside lists and dictionaries."
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in list(inside)[:200]:
        yield (*place, name)
        yield from places(value, (*place, name))


def damage_content(content, random, nasty=NASTY):
    "Put a nasty value in some place of lists and dictionaries; remove it; or give it a second, nasty name. In place."
    *way, last = random.choice(list(places(content)))
    for name in way: content = content[name]
    value = random.choice(nasty)
    accident = random.choice(("value", "value", "value", "remove", "name"))
    if accident == "value": content[last] = value
    elif accident == "remove": del content[last]
    elif isinstance(content, dict): content[value if isinstance(value, str) else "unknown"] = content.pop(last)
    else: content.insert(last, value)
    return f"{accident} at {'.'.join(map(str, [*way, last]))}: {value!r:.40}"


def damage_json(path, random):
    if random.random() < .25: return damage_bytes(path, random)
    content = json.loads(path.read_text())
    done = damage_content(content, random)
    path.write_text(json.dumps(content), encoding="utf-8", errors="surrogateescape")
    return done


def damage_table(path, random):
    "A nasty cell, row, or heading in a CSV table."
    if random.random() < .3: return damage_bytes(path, random)
    rows = list(csv.reader(io.StringIO(path.read_text())))
    done = damage_content(rows, random, [value for value in NASTY if value is not None])
    with open(path, "w", newline="", errors="surrogateescape") as file:
        csv.writer(file).writerows(row if isinstance(row, list) else [row] for row in rows)
    return done


# --- the kinds -------------------------------------------------------------------------------------------------------

def clip_of(frames=12, seed=0):
    "A made-up clip in which hands, body and face are seen."
    from asl_nb.data.landmarks import NUM_LANDMARKS
    random = np.random.default_rng(seed)
    clip = random.uniform(.2, .8, (1, NUM_LANDMARKS, 3)) + random.normal(0, .01, (frames, NUM_LANDMARKS, 3))
    return clip.astype(np.float32)


def make_clip(folder):
    from asl_nb.data.clips import write_clip
    write_clip(folder/"clip.parquet", clip_of())
    return folder/"clip.parquet"


def check_clip(clip):
    assert clip.ndim == 3 and clip.shape[1:] == (543, 3) and len(clip) and clip.dtype == np.float32
    assert not np.isinf(clip).any() and np.nanmax(np.abs(clip), initial=0) < 1000


def damage_clip(path, random):
    "Damaged bytes, or a well-formed parquet file with another content."
    import pyarrow as pa
    import pyarrow.parquet as pq
    if random.random() < .5: return damage_bytes(path, random)
    table = pq.read_table(path)
    name = random.choice(table.column_names)
    place, column = table.column_names.index(name), table[name].to_pylist()
    kind = random.choice(("drop", "double", "rename", "cast", "value", "values", "rows", "lists"))
    if kind == "drop": table = table.drop_columns([name])
    elif kind == "double": table = table.append_column(name, table[name])
    elif kind == "rename":
        other = random.choice(("x", name + " ", "y\n"))
        table = table.rename_columns([other if each == name else each for each in table.column_names])
    elif kind == "cast": table = table.set_column(place, name, pa.array(map(str, column)))
    elif kind == "rows": table = table.slice(0, random.randrange(table.num_rows))
    elif kind == "lists": table = table.set_column(place, name, pa.array([[each] for each in column]))
    elif name != "type":
        value = random.choice((-1, 10**9, 1e30, float("nan"), float("inf"), 1920.5, None))
        if name in ("frame", "landmark_index") and value is not None:
            value = int(min(value, 2**62)) if np.isfinite(value) else -7
        for row in [random.randrange(len(column))] if kind == "value" else range(len(column)):
            column[row] = row if name == "frame" and kind == "values" else value
        table = table.set_column(place, name, pa.array(column))
    pq.write_table(table, path)
    return f"{kind} of {name}"


def read_clip(path):
    from asl_nb.data.clips import read_clip
    return read_clip(path)


def make_dataset(folder):
    from asl_nb.data.clips import write_clip
    from asl_nb.data.layout import SIGN_MAP, TABLE
    rows = [(f"train_landmark_files/{person}/{number}.parquet", person, str(number), sign)
            for person in ("ana", "ben") for number, sign in enumerate(("hello", "please", "bye"))]
    for number, (name, *_) in enumerate(rows): write_clip(folder/name, clip_of(5 + number, number))
    with open(folder/TABLE, "w", newline="") as file:
        csv.writer(file).writerows([("path", "participant_id", "sequence_id", "sign"), *rows])
    (folder/SIGN_MAP).write_text(json.dumps({"hello": 0, "please": 1, "bye": 2}))
    return folder/TABLE


def read_dataset(path):
    from asl_nb.data.datasets import load_folder
    return load_folder(path.parent)


def check_dataset(dataset):
    for clip in (dataset[row] for row in range(len(dataset))):
        check_clip(np.asarray(clip[0] if isinstance(clip, tuple) else clip))
    for name in (*dataset.classes, *dataset.participants): assert readable(name) == name and name.strip()


def make_map(folder): return make_dataset(folder).with_name("sign_to_prediction_index_map.json")


def make_store(folder):
    from asl_nb.data.datasets import pack_folder
    (folder/"plain").mkdir()
    make_dataset(folder/"plain")
    pack_folder(folder/"plain", folder/"packed", progress=False)
    return folder/"packed"/"index.parquet"


def damage_store(path, random):
    "Another index with a renewed checksum, another summary, or damaged bytes in one of the three files."
    import hashlib
    kind = random.choice(("bytes", "summary", "index", "index", "content"))
    files = ("index.parquet", "store.json", "clips.npy")
    if kind == "bytes": return damage_bytes(path.with_name(random.choice(files)), random)
    if kind == "summary": return damage_json(path.with_name("store.json"), random)
    if kind == "content": damage_bytes(path, random)
    else: kind = damage_columns(path, random)
    summary = json.loads(path.with_name("store.json").read_text())
    summary["index"] = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    path.with_name("store.json").write_text(json.dumps(summary))
    return f"{kind}, checksum renewed"


def damage_columns(path, random):
    "A column of a parquet file dropped, doubled, or filled with other values."
    import pyarrow as pa
    import pyarrow.parquet as pq
    table = pq.read_table(path)
    name = random.choice(table.column_names)
    place, kind = table.column_names.index(name), random.choice(("drop", "double", "value", "text", "shuffle"))
    column = table[name].to_pylist()
    if kind == "drop": table = table.drop_columns([name])
    elif kind == "double": table = table.append_column(name, table[name])
    elif kind == "text": table = table.set_column(place, name, pa.array(["\x1b[2K"]*len(column)))
    elif kind == "shuffle": table = table.set_column(place, name, pa.array(random.sample(column, len(column))))
    else:
        column[random.randrange(len(column))] = (random.choice((-1, 10**12, 0, 7)) if isinstance(column[0], int)
                                                 else random.choice(("", "../../x", "\n", "é"*999)))
        table = table.set_column(place, name, pa.array(column))
    pq.write_table(table, path)
    return kind


def read_store(path):
    from asl_nb.data.store import open_store
    store = open_store(path.parent)
    store.verify(progress=False)
    return [store[index] for index in range(len(store))], store.table()


def check_store(found):
    for clip in found[0]: check_clip(clip)
    assert list(found[1].frames[found[1].fault == ""]) == [len(clip) for clip in found[0]]


@cache
def trained():
    "A small network that was never trained, and its signs."
    import torch

    from asl_nb.network.model import ASLModel
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ASLModel(num_classes=3, dim=16, max_len=20).eval()
    model.data_kind, model.temperature = "synthetic", .8
    return model, ("hello", "please", "bye")


def make_weights(folder):
    from asl_nb.network.weights import save_model
    save_model(folder/"model.pth", *trained())
    return folder/"model.pth"


def damage_tensors(path, random):
    "Damaged bytes, or a well-formed file with another content."
    import torch
    if random.random() < .4: return damage_bytes(path, random)
    content = torch.load(path, weights_only=True)
    content = {name: dict(value) if isinstance(value, dict) else value for name, value in content.items()}
    tensor = random.choice((torch.zeros(3), torch.full((1,), torch.nan), torch.zeros(2, dtype=torch.complex64),
                            torch.zeros(2, 2).to_sparse(), torch.tensor(1e300, dtype=torch.float64)))
    done = damage_content(content, random, (*NASTY, tensor, tensor, tensor, 8192, -.5, 1e-300))
    whole = [value for value in flat(content) if isinstance(value, torch.Tensor) and value.is_floating_point()
             and value.layout == torch.strided and value.numel()]
    if random.random() < .5 and whole: # no fault of form: numbers
        random.choice(whole).view(-1)[0] = random.choice((torch.nan, torch.inf, -1e30, 1e38))
        done += ", and a number"
    torch.save(content, path)
    return done


def flat(content):
    "Every value inside lists and dictionaries."
    values = content.values() if isinstance(content, dict) else content if isinstance(content, (list, tuple)) else ()
    for value in values:
        yield value
        yield from flat(value)


def read_weights(path):
    from asl_nb.evaluation.prediction import open_for_prediction, predict
    model = open_for_prediction(path)
    return predict(clip_of(), model), model[1]


def check_answer(found):
    guesses, classes = found
    total = sum(guess.probability for guess in guesses)
    assert np.isfinite(total) and (abs(total - 1) < 1e-4 or len(classes) > len(guesses)), total
    for name in classes: assert readable(name) == name and 0 < len(name) <= 200


def make_exported(folder):
    (folder/"model.onnx").write_bytes(small_export())
    return folder/"model.onnx"


def damage_exported(path, random):
    "Damaged bytes, other metadata, another kind, shape or place of something in the graph."
    import onnx
    if random.random() < .4: return damage_bytes(path, random)
    model, kind = onnx.load(path), random.choice(("metadata", "input", "output", "node", "weight", "outside", "domain"))
    graph = model.graph
    if kind == "metadata":
        entry = random.choice(model.metadata_props)
        entry.value = str(random.choice([value for value in NASTY if value != "\udce9"]))
    elif kind in ("input", "output"):
        each = random.choice(graph.input if kind == "input" else graph.output)
        if random.random() < .5: each.name = "other"
        else: each.type.tensor_type.elem_type = random.choice((onnx.TensorProto.INT64, onnx.TensorProto.DOUBLE))
    elif kind == "node":
        node = random.choice(graph.node)
        node.op_type = random.choice(("Loop", "Relu", "Identity", "Expand", "Range", "RandomNormal", "NoSuchThing"))
    elif kind == "domain": random.choice(graph.node).domain = "somebody.else"
    else:
        weight = random.choice(graph.initializer)
        if kind == "outside":
            weight.data_location = onnx.TensorProto.EXTERNAL
            weight.ClearField("raw_data")
            for key, value in (("location", "outside.bin"), ("offset", "0"), ("length", "4")):
                entry = weight.external_data.add()
                entry.key, entry.value = key, value
        else: weight.raw_data = random.randbytes(len(weight.raw_data))
    path.write_bytes(model.SerializeToString())
    return kind


@cache
def run_folder():
    "The files of a run of one epoch on synthetic signers, the checkpoint of a run that was broken off, and a result."
    import tempfile

    from asl_nb.training.configuration import TrainingConfig
    from asl_nb.training.trainer import train
    folder = Path(tempfile.mkdtemp(prefix="asl_nb-hostile-"))
    config = TrainingConfig.best(synthetic_signers=4, synthetic_clips=1, signs="hello,please,bye", epochs=2, dim=16,
                                 epoch_steps=1, out=str(folder), device="cpu")

    def keep(trainer):
        if len(trainer.history) == 1:
            checkpoint = next(folder.glob("*_checkpoint_*.pt"))
            (folder/"kept.pt").write_bytes(checkpoint.read_bytes())
            (folder/"kept.pth").write_bytes(trainer.files.weights.read_bytes())
    run = train(config, report=None, on_epoch_end=keep)
    return folder, run


def make_manifest(folder):
    whole, run = run_folder()
    for path in (run.files.weights, run.files.final_manifest): (folder/path.name).write_bytes(path.read_bytes())
    return folder/run.files.final_manifest.name


def read_manifest(path):
    "Everything that is made of a manifest: the table of runs, their differences, the model card."
    from asl_nb.training.card import write_card
    from asl_nb.training.manifest import read_manifest
    from asl_nb.training.runs import difference_between, find_runs, runs_table
    manifest = read_manifest(path)
    runs, _ = find_runs(path.parent)
    table = runs_table(runs)
    run = next(iter(runs.values()))
    difference_between(run, run)
    card = write_card(path, path.with_name("card.md"))
    return manifest, table, card.read_text()


def check_manifest(found):
    manifest, table, card = found
    assert not (table.test.dropna() > 1).any() and "<script" not in card and "\x1b" not in card
    for name in manifest.reproduction.class_names: assert readable(name) == name


def make_checkpoint(folder):
    whole, run = run_folder()
    (folder/f"{run.files.name}.pth").write_bytes((whole/"kept.pth").read_bytes())
    (folder/f"{run.files.name}_manifest.json").write_bytes(run.files.final_manifest.read_bytes())
    path = folder/f"{run.files.name}_checkpoint_00000001.pt"
    path.write_bytes((whole/"kept.pt").read_bytes())
    return path


def read_checkpoint(path):
    from asl_nb.training.trainer import resume
    return resume(path, report=None)


def check_run(run):
    losses = run.history.as_dict()["train_losses"]
    assert 1 <= len(losses) <= 2 and all(map(np.isfinite, losses)), losses
    assert 0 <= run.test.top1 <= 1


def make_result(folder):
    from dataclasses import asdict, fields

    from asl_nb.training.crossval import FoldResult
    from asl_nb.training.trainer import TrainingConfig
    values = dict(variant="best", fold="F1", seed=1, data="webcam", settings=json.loads(json.dumps(asdict(
        TrainingConfig.best()))), participants={"ana": 1., "ben": .5}, clips={"ana": 1, "ben": 2}, excluded={},
        top1=2/3, top5=1., last_epochs=[.5, 2/3], parameters=100, seconds=3., classes=["hello", "please"],
        logits=[[1., 0.], [0., 2.], [1., 0.]], labels=[0, 1, 1], signers=["ana", "ben", "ben"], baseline=1/3)
    assert set(values) == {field.name for field in fields(FoldResult)}
    (folder/"F1_seed1.json").write_text(json.dumps(values))
    return folder/"F1_seed1.json"


def read_result(path):
    from asl_nb.training.crossval import list_runs, read_result
    result = read_result(path)
    return result, list_runs([result])


def check_result(found):
    result, table = found
    assert 0 <= result.top1 <= 1 and np.isfinite(result.logits).all() and len(table) == len(result.clips)


def make_record(folder):
    from asl_nb.capture.extraction import extract
    from asl_nb.capture.recordings import RECORD, Labelling
    for name in ("a", "b"):
        source = folder/"sources"/"ana"/"hello"/name
        write_frames(source, 6, seed=len(name) + ord(name))
    extract(folder/"sources", folder/"made", Labelling(participant="by-folder"), progress=False, jobs=1)
    (folder/"outside.parquet").write_text("keep")
    return folder/"made"/RECORD


def damage_record(path, random):
    content = json.loads(path.read_text())
    clips = [clip for each in content["recordings"].values() for clip in each["clips"]]
    if random.random() < .4:
        where = random.choice(("../outside.parquet", str(path.parent.parent/"outside.parquet"),
                               "train_landmark_files/../../outside.parquet", "train.csv"))
        random.choice(clips)["path"] = where
        path.write_text(json.dumps(content))
        return where
    return damage_json(path, random)


def read_record(path):
    "Look at every recording, then remove them all."
    from asl_nb.capture.recordings import Recordings
    made = Recordings(path.parent)
    table = made.table()
    made.remove(list(made.known))
    return path, table


def check_record(found):
    path, table = found
    assert (path.parent.parent/"outside.parquet").read_text() == "keep"
    for column in ("sign", "participant_id"):
        for name in table[column]: assert readable(name) == name and name


def write_frames(folder, frames=6, seed=0):
    from asl_nb.capture.keypoints import write_keypoints
    return write_keypoints(folder, clip_of(frames, seed))


def make_frames(folder): return write_frames(folder/"frames")/"0.npy"


def damage_frame(path, random):
    "Damaged bytes, or an array of another kind, shape or size of its numbers; in one frame or in all."
    if random.random() < .5: return damage_bytes(path, random)
    one = np.load(path)
    other = random.choice((one*1920, one*1e300, one.astype(np.float16), one.astype(complex), one[:100], one*np.nan,
                           one.reshape(2, -1), one.astype(str), one*0))
    for each in path.parent.glob("*.npy") if random.random() < .5 else [path]: np.save(each, other)
    return f"{other.dtype} {other.shape}"


def read_frames(path):
    from asl_nb.capture.extraction import Source, read_source
    return read_source(Source(path.parent, "frames", "keypoints"))[0]


def make_pose(folder):
    from asl_nb.data.landmarks import PARTS
    formats = [import_module(f"pose_format{part}") for part in ("", ".numpy", ".pose_header")]
    names = [f"P{number}" for number in range(21)]
    parts = [formats[2].PoseHeaderComponent(f"{side}_HAND_LANDMARKS", names, [], [], "XYZC")
             for side in ("LEFT", "RIGHT")]
    clip = clip_of()
    points = np.concatenate([clip[:, PARTS[part]] for part in ("left_hand", "right_hand")], 1)*(640, 480, 1)
    body = formats[1].NumPyPoseBody(30, points[:, None].astype(np.float32), np.ones((len(clip), 1, 42), np.float32))
    header = formats[2].PoseHeader(.1, formats[2].PoseHeaderDimensions(640, 480, 0), parts)
    with open(folder/"clip.pose", "wb") as file: formats[0].Pose(header, body).write(file)
    return folder/"clip.pose"


def read_pose(path):
    from asl_nb.capture.extraction import Source, read_source
    return read_source(Source(path, path.name, "pose"))[0]


def make_spotter(folder):
    from asl_nb.live.spotter import LearnedSpotter
    (folder/"spotter.npz").write_bytes(LearnedSpotter.shipped().read_bytes())
    return folder/"spotter.npz"


def damage_arrays(path, random):
    if random.random() < .5: return damage_bytes(path, random)
    with np.load(path) as file: arrays = {name: file[name] for name in file.files}
    name = random.choice(list(arrays))
    kind = random.choice(("drop", "nan", "shape", "text", "more"))
    if kind == "drop": arrays.pop(name)
    elif kind == "more": arrays["more"] = np.zeros(3)
    else: arrays[name] = {"nan": arrays[name]*np.nan, "shape": arrays[name][:1], "text": np.array(["x"])}[kind]
    np.savez(path, **arrays)
    return f"{kind} {name}"


def read_spotter(path):
    from asl_nb.live.spotter import LearnedSpotter
    spotter = LearnedSpotter(path)
    return [spotter(frame) for frame in clip_of(40)]


def check_probabilities(found): assert all(0 <= each <= 1 for each in found)


def make_config(folder):
    from dataclasses import asdict

    from asl_nb.training.configuration import TrainingConfig
    (folder/"config.json").write_text(json.dumps(asdict(TrainingConfig.best())))
    return folder/"config.json"


def read_config(path):
    from asl_nb.cli import read_config
    from asl_nb.training.configuration import config_from
    return config_from(read_config(path), str(path))


def check_config(config):
    assert config.epochs >= 1 and config.dim <= 8192 and np.isfinite(config.learning_rate)


def make_labels(folder):
    write_frames(folder/"sources"/"a")
    (folder/"labels.csv").write_text("file,sign,participant\na,hello,ana\nb,please,ben\n")
    return folder/"labels.csv"


def read_labels(path):
    from asl_nb.capture.extraction import Source
    from asl_nb.capture.recordings import Labelling
    return Labelling(sign=str(path))(Source(path.parent/"sources"/"a", "a", "keypoints"))


def check_labels(labels):
    for name in labels: assert readable(name) == name and name


def make_video(folder):
    import cv2
    writer = cv2.VideoWriter(str(folder/"clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30, (64, 48))
    for number in range(10): writer.write(np.full((48, 64, 3), 20*number, np.uint8))
    writer.release()
    return folder/"clip.mp4"


def read_video(path):
    from asl_nb.capture.video import read_video
    return [(seconds, image.shape) for seconds, image in read_video(path)]


def check_video(images):
    assert all(np.isfinite(seconds) and len(shape) == 3 for seconds, shape in images) and len(images) < 10_000


KINDS = {
    "clip": Kind(make_clip, read_clip, check_clip, damage_clip),
    "table": Kind(make_dataset, read_dataset, check_dataset, damage_table),
    "sign map": Kind(make_map, read_dataset, check_dataset, damage_json),
    "packed store": Kind(make_store, read_store, check_store, damage_store),
    "weights": Kind(make_weights, read_weights, check_answer, damage_tensors),
    "exported model": Kind(make_exported, read_weights, check_answer, damage_exported),
    "manifest": Kind(make_manifest, read_manifest, check_manifest, damage_json),
    "checkpoint": Kind(make_checkpoint, read_checkpoint, check_run, damage_tensors, trains=True),
    "result": Kind(make_result, read_result, check_result, damage_json),
    "configuration": Kind(make_config, read_config, check_config, damage_json),
    "record of an extraction": Kind(make_record, read_record, check_record, damage_record),
    "labels": Kind(make_labels, read_labels, check_labels, damage_table),
    "key points": Kind(make_frames, read_frames, check_clip, damage_frame),
    ".pose": Kind(make_pose, read_pose, check_clip, damage_bytes),
    "spotter": Kind(make_spotter, read_spotter, check_probabilities, damage_arrays),
    "video": Kind(make_video, read_video, check_video, damage_bytes)}
NEEDS = {"exported model": ("onnx", "onnxruntime", "onnxscript"), ".pose": ("pose_format",), "video": ("cv2",)}


def lacking(kind):
    "The library that a kind of file needs and that is not installed, or an empty text."
    from importlib.util import find_spec
    return next((name for name in NEEDS.get(kind, ()) if find_spec(name) is None), "")


def size_of(path): return path.stat().st_size if path.is_file() else 0


@cache
def untrained():
    """A process that never trains, to fork others from.

    PyTorch built for CUDA refuses to train in a process that was forked from one that has trained, as that of the
    tests has.
    """
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def read_here(kind, path):
    if KINDS[kind].trains: import_module("asl_nb.training.trainer")  # once, and not in every process
    return in_limits(lambda: KINDS[kind].read(path), KINDS[kind].check, size_of(path))


def read_in_limits(kind, path):
    "What comes of reading a file of a kind, in a process of its own."
    return untrained().submit(read_here, kind, path).result() if KINDS[kind].trains else read_here(kind, path)


if sys.platform != "linux": raise ImportError("limits of time and memory are set as Linux does it")
