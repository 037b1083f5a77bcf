"""The packed store: what goes in comes out, whatever happens in between."""
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asl_nb.data.store as module
from asl_nb.core.errors import InputError
from asl_nb.data.clips import read_clip, write_clip
from asl_nb.data.store import (DATA, INDEX, JOURNAL, SUMMARY, TABLE_COLUMNS, bytes_needed, forget_temporary_stores,
                               open_store, pack_clips, packed_clips, store_path)

FILES = (DATA, INDEX, SUMMARY)


def make_clip(seed, frames):
    "A clip with some landmarks unseen."
    rng = np.random.default_rng(seed)
    clip = rng.normal(.5, .3, (frames, 543, 3)).astype(np.float32)
    clip[rng.random((frames, 543)) < .3] = np.nan
    return clip


def make_folder(folder, frames):
    "Clips of the given lengths, and their table."
    rows = [(f"clips/{number}.parquet", "ana", str(number), "hello") for number in range(len(frames))]
    for number, (path, *_) in enumerate(rows): write_clip(folder/path, make_clip(number, frames[number]))
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    return folder, make_folder(folder, [1 + number % 7 for number in range(60)])


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    return pack_clips(*source, tmp_path_factory.mktemp("whole")/"store", progress=False)


@pytest.fixture
def copy(source, tmp_path):
    "A folder that a test may change."
    return shutil.copytree(source[0], tmp_path/"copy"), source[1]


def same_files(one, other):
    for name in FILES: assert (one/name).read_bytes() == (other/name).read_bytes(), name
    assert not (one/JOURNAL).exists() and not list(one.glob("*.part"))


PROGRAM = """
import sys, time
import pandas
import asl_nb.data.store as store
store.CLIPS_PER_TASK = 1
folder, table, target, pause, round_pause = sys.argv[1:]
durably = store._append_durably
def slowly(path, content):
    "Write in two pieces, so that there is a moment between them to be killed in."
    durably(path, content[:len(content)//2])
    time.sleep(float(round_pause))
    durably(path, content[len(content)//2:])
store._append_durably = slowly
print("ready", flush=True)
time.sleep(float(pause))
store.pack_clips(folder, pandas.read_json(table, dtype=str), target, jobs=1, progress=False)
"""


def packer(source, tmp_path, target, pause=0, round_pause=0):
    "A process that packs, two short writes for each entry."
    table = tmp_path/"table.json"
    if not table.exists(): source[1].to_json(table)
    arguments = [str(source[0]), str(table), str(target), str(pause), str(round_pause)]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def test_clips_are_those_of_the_files(source, whole):
    assert len(whole) == 60 and whole.lengths.tolist() == [1 + number % 7 for number in range(60)]
    for index, name in enumerate(source[1].path):
        np.testing.assert_array_equal(whole[index], read_clip(source[0]/name).astype(np.float16).astype(np.float32))
        assert whole[index].dtype == np.float32
    assert whole.verify(progress=False) == 60
    with pytest.raises(IndexError): whole[60]
    np.testing.assert_array_equal(whole[-60], whole[0])


def test_numpy_opens_the_data_file(whole):
    frames = np.load(whole.path/DATA, mmap_mode="r")
    assert frames.shape == (whole.lengths.sum(), 543, 3) and frames.dtype == np.float16
    np.testing.assert_array_equal(frames[-whole.lengths[-1]:].astype(np.float32), whole[59])


@settings(max_examples=15, deadline=None)
@given(frames=st.lists(st.integers(1, 12), min_size=1, max_size=12), seed=st.integers(0, 99),
       per_task=st.integers(1, 5))
def test_round_trip(tmp_path_factory, frames, seed, per_task):
    folder = tmp_path_factory.mktemp("round")
    rows = [(f"{number}.parquet", "a", str(number), "b") for number in range(len(frames))]
    clips = [make_clip(seed + number, count) for number, count in enumerate(frames)]
    for clip, (path, *_) in zip(clips, rows, strict=True): write_clip(folder/path, clip)
    before, module.CLIPS_PER_TASK = module.CLIPS_PER_TASK, per_task
    table = pd.DataFrame(rows, columns=list(TABLE_COLUMNS))
    try: packed = pack_clips(folder, table, folder/"store", progress=False)
    finally: module.CLIPS_PER_TASK = before
    for made, clip in zip(packed, clips, strict=True):
        np.testing.assert_array_equal(made, clip.astype(np.float16).astype(np.float32))
    shutil.rmtree(folder)


def test_many_processes_make_the_same_store(source, whole, tmp_path):
    same_files(pack_clips(*source, tmp_path/"store", jobs=2, progress=False).path, whole.path)


@pytest.mark.slow
def test_a_dask_cluster_makes_the_same_store(source, whole, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True) as cluster:
        with distributed.Client(cluster), joblib.parallel_config(backend="dask"):
            same_files(pack_clips(*source, tmp_path/"store", jobs=-1, progress=False).path, whole.path)


# --- interruptions ---

@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
def test_killed_at_random_moments_and_resumed_it_is_the_same(source, whole, tmp_path, seed):
    rng, target = random.Random(seed), tmp_path/"store"
    found = []
    for _ in range(2):
        process = packer(source, tmp_path, target, round_pause=.06)
        time.sleep(rng.uniform(.02, .4))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (target/JOURNAL).exists(): found.append((target/JOURNAL).read_bytes().count(b"\n"))
        if not (target/SUMMARY).exists():
            with pytest.raises(InputError): open_store(target)
    assert found == sorted(found)  # never less than before
    same_files(pack_clips(*source, target, progress=False).path, whole.path)


@pytest.fixture
def interrupted(source, tmp_path, monkeypatch):
    "A target with eight clips in the journal, in rounds of one."
    monkeypatch.setattr(module, "CLIPS_PER_TASK", 1)
    target, rounds = tmp_path/"interrupted", module._rounds
    def eight_rounds(*args):
        tasks = (task for each in rounds(*args) for task in each)
        for number, task in enumerate(tasks):
            if number == 8: raise KeyboardInterrupt
            yield [task]
    monkeypatch.setattr(module, "_rounds", eight_rounds)
    with pytest.raises(KeyboardInterrupt): pack_clips(*source, target, progress=False)
    assert (target/JOURNAL).read_bytes().count(b"\n") == 9
    monkeypatch.setattr(module, "_rounds", rounds)
    return target


def test_resuming_reads_only_the_rest(source, whole, interrupted, monkeypatch):
    read, reading = [], module.read_recording
    monkeypatch.setattr(module, "read_recording", lambda path: read.append(path) or reading(path))
    same_files(pack_clips(*source, interrupted, progress=False).path, whole.path)
    assert len(read) == 52


def shorten(path):
    "Cut off the last byte of a file."
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("damage, lost", {
    "torn journal line": (lambda target: (target/JOURNAL).write_bytes((target/JOURNAL).read_bytes()[:-5]), 1),
    "journal of nonsense": (lambda target: (target/JOURNAL).write_bytes(b"\xff\x00"), 8),
    "journal empty": (lambda target: (target/JOURNAL).write_bytes(b""), 8),
    "last clip not on the disk": (lambda target: shorten(target/f"{DATA}.part"), 1),
    "half a clip too much": (lambda target: open(target/f"{DATA}.part", "ab").write(b"x"*1000), 0),
    "data gone": (lambda target: (target/f"{DATA}.part").unlink(), 8),
    "data empty": (lambda target: (target/f"{DATA}.part").write_bytes(b""), 8),
    "killed after the last rename": (lambda target: (target/f"{DATA}.part").rename(target/DATA), 0)}.values())
def test_resuming_after_damage(source, whole, interrupted, monkeypatch, damage, lost):
    read, reading = [], module.read_recording
    monkeypatch.setattr(module, "read_recording", lambda path: read.append(path) or reading(path))
    damage(interrupted)
    same_files(pack_clips(*source, interrupted, progress=False).path, whole.path)
    assert len(read) == 52 + lost


def test_an_interrupted_store_of_other_files_is_not_continued(source, interrupted):
    table = source[1][::-1]
    packed = pack_clips(source[0], table, interrupted, progress=False)
    assert packed.table().path.tolist() == table.path.tolist() and packed.verify(progress=False) == 60


def test_two_processes_at_once(source, whole, tmp_path):
    target = tmp_path/"store"
    processes = [packer(source, tmp_path, target, round_pause=.005) for _ in range(2)]
    for process in processes: assert process.wait(120) == 0, process.stderr.read()
    same_files(target, whole.path)


def test_whoever_waits_goes_on_when_the_other_is_killed(source, whole, tmp_path):
    target = tmp_path/"store"
    first = packer(source, tmp_path, target, round_pause=.03)
    while not (target/JOURNAL).exists(): time.sleep(.01)
    second = packer(source, tmp_path, target)
    time.sleep(1)
    first.kill()
    assert second.wait(120) == 0, second.stderr.read()
    first.wait()
    same_files(target, whole.path)


# --- broken stores ---

def change_summary(**fields):
    return lambda path: (path/SUMMARY).write_text(json.dumps(json.loads((path/SUMMARY).read_text()) | fields))


def flip(name, where=.5):
    def change(path):
        content = bytearray((path/name).read_bytes())
        content[int(where*len(content))] ^= 1
        (path/name).write_bytes(content)
    return change


BROKEN = {
    "not there": (shutil.rmtree, "no packed store"),
    "no summary": (lambda path: (path/SUMMARY).unlink(), "no packed store"),
    "summary torn": (lambda path: (path/SUMMARY).write_text("{"), "store.json: not readable"),
    "summary a list": (lambda path: (path/SUMMARY).write_text("[]"), "version None"),
    "summary not text": (lambda path: (path/SUMMARY).write_bytes(b"\xff\xfe\x00"), "store.json: not readable"),
    "of tomorrow": (change_summary(version=2), "store of version 2, this program reads version 1"),
    "other frames": (change_summary(frames=7), "its totals are not those of the index"),
    "other clips": (change_summary(clips=7), "its totals are not those of the index"),
    "no index": (lambda path: (path/INDEX).unlink(), "index.parquet: no such file"),
    "index truncated": (lambda path: os.truncate(path/INDEX, 500), "index.parquet: is damaged"),
    "one bit of the index": (flip(INDEX), "index.parquet: is damaged"),
    "index of another store": (lambda path: pd.DataFrame({"frames": [1]}).to_parquet(path/INDEX),
                               "index.parquet: is damaged"),
    "no data": (lambda path: (path/DATA).unlink(), "clips.npy: no such file"),
    "truncated": (lambda path: shorten(path/DATA), "clips.npy: truncated, .* bytes instead of"),
    "empty": (lambda path: os.truncate(path/DATA, 0), "clips.npy: truncated, 0 bytes"),
    "too long": (lambda path: os.truncate(path/DATA, 10**7), "clips.npy: truncated"),
    "header": (flip(DATA, 0), "clips.npy: is damaged")}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_store_is_refused_by_name_and_packed_again(source, whole, tmp_path, name):
    damage, fault = BROKEN[name]
    broken = shutil.copytree(whole.path, tmp_path/"broken")
    damage(broken)
    with pytest.raises(InputError, match=fault) as caught: open_store(broken)
    assert "\n" not in str(caught.value) and ";" in str(caught.value) and "broken" in str(caught.value)
    same_files(pack_clips(*source, broken, progress=False).path, whole.path)


def test_verify_names_the_clip_that_was_changed(whole, tmp_path):
    broken = shutil.copytree(whole.path, tmp_path/"broken")
    with open(broken/DATA, "r+b") as file:
        file.seek(128 + int(whole.offsets[23])*543*6 + 11)
        file.write(b"!")
    with pytest.raises(InputError, match=r"clip 23 \(clips/23.parquet\) is damaged"):
        open_store(broken).verify(progress=False)


def test_data_that_shrinks_while_open_is_an_error_not_a_crash(whole, tmp_path):
    opened = open_store(shutil.copytree(whole.path, tmp_path/"shrinking"))
    os.truncate(opened.path/DATA, 2000)
    with pytest.raises(InputError, match="ends within clip 5"): opened[5]


# --- sources ---

def stamp(target): return (target/DATA).stat().st_ino, (target/INDEX).stat().st_ino


def test_nothing_changed_nothing_done(copy, tmp_path):
    target = pack_clips(*copy, tmp_path/"store", progress=False).path
    before = stamp(target)
    pack_clips(*copy, target, progress=False)
    assert stamp(target) == before


def add_row(folder, table):
    write_clip(folder/"new.parquet", make_clip(5, 2))
    return pd.concat([table, table[:1].assign(path="new.parquet")], ignore_index=True)


@pytest.mark.parametrize("change", {
    "content": lambda folder, table: write_clip(folder/table.path[9], make_clip(99, 3)),
    "time only": lambda folder, table: os.utime(folder/table.path[9], ns=(1, 1)),
    "row removed": lambda folder, table: table.drop(index=9),
    "order": lambda folder, table: table[::-1],
    "row added": add_row}.values())
def test_a_changed_folder_is_packed_again(copy, tmp_path, change):
    folder, table = copy
    opened = pack_clips(folder, table, tmp_path/"store", progress=False)
    expected, before = opened[9], stamp(opened.path)
    changed = change(folder, table)
    table = table if changed is None else changed
    again = pack_clips(folder, table, tmp_path/"store", progress=False)
    assert stamp(again.path)[0] != before[0] and again.table().path.tolist() == table.path.tolist()
    for made, name in zip(again, table.path, strict=True):
        np.testing.assert_array_equal(made, read_clip(folder/name).astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(opened[9], expected)  # whoever has the old one open goes on reading it


def test_changed_labels_rewrite_the_index_only(copy, tmp_path):
    target = pack_clips(*copy, tmp_path/"store", progress=False).path
    before = stamp(target)
    again = pack_clips(copy[0], copy[1].assign(sign="bye", participant_id="007"), target, progress=False)
    assert [new == old for new, old in zip(stamp(target), before, strict=True)] == [True, False]
    assert set(again.table().sign) == {"bye"} and set(again.table().participant_id) == {"007"}


def test_bad_clips_stop_or_are_noted(copy, tmp_path):
    folder, table = copy
    (folder/table.path[4]).write_bytes(b"PAR1")
    (folder/table.path[50]).unlink()
    pd.read_parquet(folder/table.path[6]).assign(x=1e6).to_parquet(folder/table.path[6])
    with pytest.raises(InputError, match="4.parquet: not a readable"):
        pack_clips(folder, table, tmp_path/"store", progress=False)
    noted = pack_clips(folder, table, tmp_path/"store", skip_bad=True, progress=False)
    assert len(noted) == 57 and list(noted.faults()) == [table.path[row] for row in (4, 6, 50)]
    assert "1e+06" in noted.faults()[table.path[6]] and noted.positions[[3, 4, 5, 59]].tolist() == [3, -1, 4, 56]
    with pytest.raises(InputError, match="4.parquet: not a readable"):
        pack_clips(folder, table, tmp_path/"store", progress=False)


def test_only_bad_clips(copy, tmp_path):
    for name in copy[1].path: (copy[0]/name).write_bytes(b"")
    assert len(pack_clips(*copy, tmp_path/"store", skip_bad=True, progress=False)) == 0


# --- disks and places ---

FULL_DISK = """
import errno, os, sys
import pandas
import asl_nb.data.store as store
real, room = os.fsync, int(sys.argv[4])
def fsync(descriptor):
    "Room for so many bytes in one file."
    if os.fstat(descriptor).st_size > room: raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real(descriptor)
os.fsync, store.CLIPS_PER_TASK = fsync, 1
store.pack_clips(sys.argv[1], pandas.read_json(sys.argv[2], dtype=str), sys.argv[3], jobs=1, progress=False)
"""


@pytest.mark.parametrize("room, least", [(0, 0), (150_000, 8), (700_000, 48)])
def test_full_disk_keeps_what_is_done_and_the_bytes_are_named(source, whole, tmp_path, monkeypatch, room, least):
    source[1].to_json(tmp_path/"table.json")
    arguments = [source[0], tmp_path/"table.json", tmp_path/"store", str(room)]
    result = subprocess.run([sys.executable, "-c", FULL_DISK, *arguments], capture_output=True, text=True)
    message = result.stderr.strip().splitlines()[-1]
    assert "InputError" in message and "no space left" in message and "ASL_NB_CACHE" in message
    with pytest.raises(InputError): open_store(tmp_path/"store")
    read, reading = [], module.read_recording
    monkeypatch.setattr(module, "read_recording", lambda path: read.append(path) or reading(path))
    same_files(pack_clips(*source, tmp_path/"store", progress=False).path, whole.path)
    assert len(read) == 60 - least


def test_full_disk_while_the_index_is_written(source, whole, tmp_path, monkeypatch):
    def full(*args, **kwargs): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        patch.setattr("asl_nb.data.clips.os.replace", full)
        with pytest.raises(InputError, match="no space left"): pack_clips(*source, tmp_path/"store", progress=False)
    monkeypatch.setattr(module, "read_recording", None)  # every clip is there already
    same_files(pack_clips(*source, tmp_path/"store", progress=False).path, whole.path)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_read(source, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 9*10**5, 10**5))
    monkeypatch.setattr(module, "_rounds", None)
    with pytest.raises(InputError, match="about 7.., ... bytes|about [67]..,... bytes, 100,000 are free"):
        pack_clips(*source, tmp_path/"store", progress=False)


def test_the_estimate_is_near(source, whole):
    assert abs(bytes_needed(*[source[0], source[1].path]) - whole.nbytes) < .05*whole.nbytes


def test_place_of_stores(source, tmp_path, monkeypatch):
    monkeypatch.setenv("ASL_NB_CACHE", str(tmp_path/"cache"))
    folder = shutil.copytree(source[0], tmp_path/"Hände und Füße")
    packed = packed_clips(folder, source[1], progress=False)
    assert packed.path == store_path(folder) == store_path(str(folder) + "/") and packed.path.parent == tmp_path/"cache"
    (tmp_path/"link").symlink_to(folder)
    assert store_path(tmp_path/"link") == packed.path
    monkeypatch.setenv("ASL_NB_CACHE", str(tmp_path/"cache"/"file"))
    (tmp_path/"cache"/"file").write_text("x")
    with pytest.raises(InputError, match="ASL_NB_CACHE"): packed_clips(folder, source[1], progress=False)


def test_only_stores_of_temporary_folders_that_are_gone_are_forgotten(source, tmp_path, monkeypatch):
    monkeypatch.setenv("ASL_NB_CACHE", str(tmp_path/"cache"))
    folders = [shutil.copytree(source[0], tmp_path/name) for name in ("gone", "there", "elsewhere")]
    stores = [packed_clips(folder, source[1], progress=False) for folder in folders]
    change_summary(folder="/media/stick/recordings")(stores[2].path)
    shutil.rmtree(folders[0])
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    assert forget_temporary_stores(tmp_path/"cache") == [stores[0].path.name]
    assert not stores[0].path.exists() and stores[1].path.exists() and stores[2].path.exists()
