"""Preparation: one folder becomes a training folder – the right clips, nobody on two sides, nothing else touched."""
import errno
import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asl_nb.data.preparation as module
from asl_nb.core.errors import InputError
from asl_nb.data.clips import read_clip, write_clip
from asl_nb.data.datasets import load_dataset, load_splits, pack_folder
from asl_nb.data.inspection import inspect_dataset, inspect_table
from asl_nb.data.layout import ASL25, SIGN_MAP, TABLE, read_sign_map, read_table
from asl_nb.data.preparation import (PICTURES, Preparation, REPORT, describe_preparation, foreign_files, prepare,
                                     read_signs, select_clips)
from asl_nb.data.splits import SplitPlan

SAMPLE = Path(__file__).resolve().parents[2]/"shared/data/asl_signs_sample"
real = pytest.mark.skipif(not SAMPLE.exists(), reason="real recordings are not here")
GUIDE_TESTERS = "16069,22343,26734,27610,55372"
SIGNS, SIGNERS = ("hello", "go", "mom"), ("ana", "ben", "cleo", "007")


def clip(seed, frames=3):
    "A clip in which the right hand and the pose are seen."
    made = np.full((frames, 543, 3), np.nan, dtype=np.float32)
    made[:, 489:] = np.random.default_rng(seed).random((frames, 54, 3))
    return made


def make_source(folder):
    "A plain folder: two clips of every sign by every signer; the map has numbers with gaps, and a sign without clips."
    rows = []
    takes = [(signer, sign) for signer in SIGNERS for sign in SIGNS for _ in range(2)]
    for number, (signer, sign) in enumerate(takes):
        rows.append((f"train_landmark_files/{signer}/{number}.parquet", signer, number, sign))
        write_clip(folder/rows[-1][0], clip(number))
    pd.DataFrame(rows, columns=["path", "participant_id", "sequence_id", "sign"]).to_csv(folder/TABLE, index=False)
    (folder/SIGN_MAP).write_text(json.dumps({"go": 3, "never shown": 5, "mom": 20, "hello": 249}))
    return folder


@pytest.fixture
def source(tmp_path):
    return make_source(tmp_path/"Vidéos à moi 手话")


@pytest.fixture
def out(tmp_path):
    return tmp_path/"dataset split ü"


def run(source, out, **options):
    "Prepare with a seed of 0; options of the plan and of `prepare` together."
    plan = {name: options.pop(name) for name in ("signs", "test_participants", "test_share") if name in options}
    return prepare(source, out, SplitPlan(seed=0, **plan), **{"progress": False, **options})


def state(folder):
    "Every file of a folder with its content and its time."
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_load_dataset_reads_it_and_signers_are_disjoint(source, out):
    before = state(source)
    prepared = run(source, out, test_participants="007,ben")
    data, labels, test_data, test_labels, mapping, classes = load_dataset(out)
    assert classes == ("go", "mom", "hello") and mapping == {"go": 0, "mom": 1, "hello": 2}
    assert read_sign_map(out/"train") == read_sign_map(out/"test") == mapping
    sides = [set(read_table(out/side).participant_id) for side in ("train", "test")]
    assert sides == [{"ana", "cleo"}, {"007", "ben"}] and prepared.test_participants == ("007", "ben")
    assert (len(data), len(test_data), prepared.counts) == (12, 12, {"train": 12, "test": 12})
    assert load_splits(out, progress=False).test.signers == ("007", "ben")
    assert state(source) == before


def test_every_clip_keeps_its_label_and_its_content(source, out):
    run(source, out, signs="mom,hello")
    was = read_table(source).set_index("path")
    now = pd.concat([read_table(out/side).assign(side=side) for side in ("train", "test")]).set_index("path")
    assert sorted(now.index) == sorted(was.index[was.sign.isin(["mom", "hello"])])
    pd.testing.assert_frame_equal(now[was.columns].sort_index(), was.loc[now.index].sort_index())
    for name, row in now.iterrows(): np.testing.assert_array_equal(read_clip(out/row.side/name), read_clip(source/name))
    assert read_sign_map(out/"train") == {"mom": 0, "hello": 1}


@pytest.mark.parametrize("copy", [False, True])
def test_links_by_default_copies_on_request(source, out, copy):
    run(source, out, clips="copy" if copy else "link")
    for side in ("train", "test"):
        for name in read_table(out/side).path:
            assert os.path.samefile(source/name, out/side/name) is not copy and not (out/side/name).is_symlink()
    shutil.rmtree(source)  # either way, the result stands alone
    assert len(load_dataset(out)[0])


def test_link_of_a_link_is_a_link_of_the_file(source, out):
    name = read_table(source).path[0]
    os.rename(source/name, source/"elsewhere.parquet")
    os.symlink(source/"elsewhere.parquet", source/name)
    run(source, out)
    (target,) = out.glob(f"*/{name}")
    assert not target.is_symlink() and os.path.samefile(target, source/"elsewhere.parquet")


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_where_links_are_impossible_copying_is_named(source, out, monkeypatch, number):
    def refuse(*_, **__): raise OSError(number, os.strerror(number))
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(module, "read_facts", lambda *_: pytest.fail("nothing should be read before this is known"))
    with pytest.raises(InputError, match="--copy"): run(source, out)
    assert os.listdir(out.parent) == [source.name]


def test_signs_file(source, out, tmp_path, monkeypatch):
    (tmp_path/"mes mots é.txt").write_bytes("\ufeffmom\r\n\r\n  hello \r\nmom\r\n".encode())
    assert run(source, out, signs=tmp_path/"mes mots é.txt").classes == ("mom", "hello")
    assert run(source, out, signs=str(tmp_path/"mes mots é.txt"), overwrite=True).classes == ("mom", "hello")
    (tmp_path/"empty.txt").write_text("\n \n")
    (tmp_path/"image.txt").write_bytes(b"\xff\xd8\xff\xe0")
    for name, fault in (("empty.txt", "no sign is named"), ("image.txt", "not readable as text"),
                        ("gone.txt", "no such file")):
        with pytest.raises(InputError, match=fault): read_signs(str(tmp_path/name), SIGNS)
    monkeypatch.chdir(tmp_path)
    for name in ("hello", "all", "ASL25"): (tmp_path/name).write_text("mom")
    # a file of that name does not hide a sign
    assert read_signs("hello", SIGNS) == ("hello",) and read_signs("all", SIGNS) is None


@pytest.mark.parametrize("signs, cure", [("helo", "did you mean 'hello'"), ("mom,Go", "did you mean 'go'"),
    ("zzzz", "name only signs that are there: go, mom, hello"),
    ("never shown", "name only signs that are there"), (" , ", "no sign is named")])
def test_unknown_sign(source, out, signs, cure):
    with pytest.raises(InputError, match=cure): run(source, out, signs=signs)
    assert not out.exists()


@pytest.mark.parametrize("options, fault", [
    ({"test_participants": "eve"}, "no clips of eve; name participants that are there: 007, ana, ben, cleo"),
    ({"test_participants": SIGNERS}, "nobody is left to train on"),
    ({"test_share": 1.5}, "must lie between 0 and 1"), ({"test_share": 0}, "must lie between 0 and 1")])
def test_impossible_split(source, out, options, fault):
    with pytest.raises(InputError, match=fault): run(source, out, **options)
    assert not out.exists()


def test_one_signer_only(source, out):
    table = read_table(source)
    table[table.participant_id == "ana"].to_csv(source/TABLE, index=False)
    with pytest.raises(InputError, match="nobody is left to train on"): run(source, out, test_participants="ana")
    prepared = run(source, out)
    assert prepared.counts == {"train": 3, "test": 3} and prepared.test_participants == ("ana",)
    assert prepared.classes == ("go", "mom", "hello")
    text = "\n".join(describe_preparation(prepared))
    assert "one signer only" in text and "ana alone, and its score says nothing about other people" in text
    assert "signers in train and in test" not in text
    assert load_splits(out, SplitPlan(validation_share=0), progress=False).only_signer == "ana"
    sides = [set(read_table(out/side).path) for side in ("train", "test")]
    assert not sides[0] & sides[1] and [sorted(load_dataset(out)[place]) for place in (1, 3)] == [[0, 1, 2]]*2
    table[table.participant_id == "ana"].drop_duplicates("sign").to_csv(source/TABLE, index=False)
    fault = "there is one person, and a single clip of each sign.*record each sign more often"
    with pytest.raises(InputError, match=fault):
        run(source, out, overwrite=True)


def test_two_signers_are_enough(source, out):
    table = read_table(source)
    table[table.participant_id.isin(["ana", "007"])].to_csv(source/TABLE, index=False)
    assert run(source, out).counts == {"train": 6, "test": 6} and len(load_dataset(out)[2]) == 6


def test_sign_that_nobody_trains(source, out):
    table = read_table(source)
    table[(table.sign != "mom") | (table.participant_id == "ana")].to_csv(source/TABLE, index=False)
    prepared = run(source, out, test_participants="ana")
    assert prepared.excluded == {"mom": 2} and prepared.classes == ("go", "hello")
    assert "mom (2)" in "\n".join(describe_preparation(prepared))
    assert load_dataset(out)[5] == ("go", "hello")
    with pytest.raises(InputError, match="mom has no training clips"):
        run(source, out, signs="mom,go", test_participants="ana", overwrite=True)


def test_existing_out_is_replaced_only_on_request(source, out):
    out.mkdir()
    run(source, out, signs="go,mom")  # an empty folder is as good as none
    before = state(out)
    with pytest.raises(InputError, match="--overwrite"): run(source, out)
    assert state(out) == before
    run(source, out, signs="hello,go", overwrite=True)
    assert load_dataset(out)[5] == ("hello", "go") and foreign_files(out) == []
    assert sorted(os.listdir(out.parent)) == sorted([source.name, out.name])


@pytest.mark.parametrize("name", ["notes.txt", "train/notes.txt", "test/train_landmark_files/ana/extra.parquet",
                                  ".hidden/file"])
def test_a_foreign_file_is_never_removed(source, out, name):
    run(source, out)
    (out/name).parent.mkdir(parents=True, exist_ok=True)
    (out/name).write_text("mine")
    with pytest.raises(InputError, match=f"{Path(name).name}, which prepare has not written"):
        run(source, out, overwrite=True)
    assert (out/name).read_text() == "mine" and len(load_dataset(out)[0])


def test_foreign_folders_and_files_are_never_removed(source, out, tmp_path):
    other = make_source(tmp_path/"other")
    before = state(other)
    with pytest.raises(InputError, match="which prepare has not written"): run(source, other, overwrite=True)
    run(source, out)
    os.symlink(other, out/"train"/"linked")  # a link to a folder is a foreign thing too
    with pytest.raises(InputError, match="linked"): run(source, out, overwrite=True)
    (tmp_path/"file").write_text("mine")
    with pytest.raises(InputError, match="is a file"): run(source, tmp_path/"file", overwrite=True)
    (out/"train"/"linked").unlink()
    (out/REPORT).write_text("[]")  # no report of ours any more
    with pytest.raises(InputError, match="which prepare has not written"): run(source, out, overwrite=True)
    assert state(other) == before and (tmp_path/"file").read_text() == "mine"


def test_file_that_appears_while_clips_are_read_is_kept(source, out, monkeypatch):
    run(source, out)
    write = Preparation.write
    def slow(*arguments):
        (out/"new.txt").write_text("mine")
        write(*arguments)
    monkeypatch.setattr(Preparation, "write", slow)
    with pytest.raises(InputError, match="new.txt"): run(source, out, overwrite=True)
    assert (out/"new.txt").read_text() == "mine" and (out/REPORT).exists()


def test_out_inside_source_and_the_reverse(source, out):
    for place in (source, source/"split", source/"train_landmark_files", source.parent):
        with pytest.raises(InputError, match="or the reverse"): run(source, place, overwrite=True)
    run(source, out)
    with pytest.raises(InputError, match="or the reverse"): run(out/"train", out, overwrite=True)
    assert len(load_dataset(out)[0])
    assert sorted(path.name for path in source.iterdir()) == [SIGN_MAP, TABLE, "train_landmark_files"]


def test_symlinked_out(source, out, tmp_path):
    (tmp_path/"big disk").mkdir()
    os.symlink(tmp_path/"big disk", out)
    run(source, out)
    assert out.is_symlink() and (tmp_path/"big disk"/REPORT).exists() and load_dataset(out)[5]
    run(source, out, signs="go", overwrite=True)
    assert out.is_symlink() and load_dataset(out)[5] == ("go",)
    os.symlink(tmp_path/"not yet", tmp_path/"dangling")
    run(source, tmp_path/"dangling")
    assert load_dataset(tmp_path/"not yet")[5]
    os.symlink(source, tmp_path/"to the source")
    with pytest.raises(InputError, match="or the reverse"): run(source, tmp_path/"to the source", overwrite=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_place(source, tmp_path):
    (tmp_path/"locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written"): run(source, tmp_path/"locked"/"out")


@pytest.mark.parametrize("function, number", [("mkdir", errno.EROFS), ("link", errno.ENOSPC), ("rename", errno.EROFS)])
def test_a_disk_that_refuses_leaves_nothing_behind(source, out, monkeypatch, function, number):
    (out.parent/"below a file").write_text("")
    with pytest.raises(InputError, match="cannot be written"): run(source, out.parent/"below a file"/"out")
    (out.parent/"below a file").unlink()
    run(source, out, signs="go,mom")
    before, real_one, calls = state(out), getattr(os, function), []
    def refuse(*arguments, **options):
        calls.append(arguments)
        if len(calls) > (5 if function == "link" else 0): raise OSError(number, os.strerror(number))
        return real_one(*arguments, **options)
    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(InputError, match="cannot be written"): run(source, out, overwrite=True)
    monkeypatch.undo()
    assert state(out) == before and sorted(os.listdir(out.parent)) == sorted([source.name, out.name])


@pytest.mark.parametrize("where", [1, 2])
def test_a_failed_exchange_brings_the_old_folder_back(source, out, monkeypatch, where):
    run(source, out, signs="go,mom")
    before, rename, calls = state(out), os.rename, []
    def refuse(*arguments):
        calls.append(arguments)
        if len(calls) == where: raise OSError(errno.EBUSY, "Device or resource busy")
        return rename(*arguments)
    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(InputError, match="busy"): run(source, out, overwrite=True)
    assert state(out) == before and sorted(os.listdir(out.parent)) == sorted([source.name, out.name])


def test_interrupted(source, out, monkeypatch):
    def interrupt(*_): raise KeyboardInterrupt
    monkeypatch.setattr(module, "write_pictures", interrupt)
    with pytest.raises(KeyboardInterrupt): run(source, out)
    assert os.listdir(out.parent) == [source.name]


def test_unreadable_clips(source, out):
    names = read_table(source).path
    for name in names[[3, 9]]: (source/name).unlink()
    with pytest.raises(InputError, match=r"3\.parquet: no such file.*2 of 24 clips cannot be read; --skip-bad"):
        run(source, out)
    (source/names[12]).write_bytes(b"half a download")
    assert not out.exists()
    prepared = run(source, out, skip_bad=True)
    report = json.loads((out/REPORT).read_text(encoding="utf-8"))
    assert len(prepared.skipped) == 3 and report["skipped"] == prepared.skipped and "half" not in str(report)
    assert sum(prepared.counts.values()) == 21 and load_dataset(out)[5] == ("go", "mom", "hello")
    for name in names: (source/name).write_bytes(b"broken")
    with pytest.raises(InputError, match="none of the 24 clips can be read"):
        run(source, out.parent/"new", skip_bad=True)


def test_unreadable_clips_of_other_signs_do_not_matter(source, out):
    table = read_table(source)
    for name in table.path[table.sign == "mom"]: (source/name).unlink()
    assert run(source, out, signs="hello,go").skipped == []


def test_a_sign_whose_training_clips_are_all_broken(source, out):
    table = read_table(source)
    for name in table.path[(table.sign == "mom") & (table.participant_id != "ana")]:
        (source/name).write_bytes(b"broken")
    with pytest.raises(InputError, match="mom has no training clips"):
        run(source, out, signs="mom,go", test_participants="ana", skip_bad=True)
    assert run(source, out, test_participants="ana", skip_bad=True).excluded == {"mom": 2}


def test_duplicates_and_frozen_clips_are_reported(source, out):
    names = read_table(source).path
    write_clip(source/names[20], read_clip(source/names[0]), first_frame=7)
    write_clip(source/names[4], np.repeat(read_clip(source/names[4])[:1], 8, axis=0))
    prepared = run(source, out, test_participants="007")
    found = json.loads((out/REPORT).read_text(encoding="utf-8"))["inspection"]
    (group,) = found["duplicates"]
    assert group["clips"] == [f"train/{names[0]}", f"test/{names[20]}"] and group["across_sides"]
    assert found["suspicious"] == {f"train/{names[4]}": "frozen"} and found["signers_on_both_sides"] == []
    text = "\n".join(describe_preparation(prepared))
    assert "in train and in test: 1" in text and "frozen" in text and str(out/REPORT) in text
    pd.testing.assert_frame_equal(inspect_dataset(out, progress=False).clips, prepared.inspection.clips)
    np.testing.assert_array_equal(prepared.inspection.clip(0), read_clip(source/prepared.inspection.clips.path[0]))
    assert set(os.listdir(out)) == {"train", "test", REPORT, *PICTURES}


def test_wrong_kinds_of_source(source, out, tmp_path):
    run(source, out)
    with pytest.raises(InputError, match="is split already"): run(out, tmp_path/"new")
    pack_folder(source, tmp_path/"packed", progress=False)
    with pytest.raises(InputError, match="is packed already"): run(tmp_path/"packed", tmp_path/"new")
    with pytest.raises(InputError, match="no such folder"): run(tmp_path/"nowhere", tmp_path/"new")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(SIGNS)), min_size=1, max_size=40),
       st.integers(0, 9), st.floats(.05, .95))
def test_selection_is_disjoint_complete_and_repeatable(rows, seed, share):
    table = pd.DataFrame(rows, columns=["participant_id", "sign"])
    try: side, classes = select_clips(table, SIGNS, SplitPlan(test_share=share, seed=seed))
    except InputError: return
    people = [set(table.participant_id[side == name]) for name in ("train", "test")]
    assert not people[0] & people[1] or people == [set(table.participant_id)]*2 and len(people[0]) == 1
    assert set(table.sign[side == "train"]) == set(classes) >= set(table.sign[side == "test"])
    assert set(side) <= {"train", "test", "excluded"} and {"train", "test"} <= set(side)
    assert (select_clips(table, SIGNS, SplitPlan(test_share=share, seed=seed))[0] == side).all()


@pytest.fixture(scope="module")
def labels():
    "The label table of all 94,477 clips of the competition."
    return pd.read_csv(SAMPLE/"train_all_labels.csv.gz", dtype=str)


@real
def test_real_label_table_gives_the_guides_split(labels):
    order = list(read_sign_map(SAMPLE))
    side, classes = select_clips(labels, order, SplitPlan(signs="ASL25", test_participants=GUIDE_TESTERS))
    assert classes == ASL25
    assert [int((side == name).sum()) for name in ("train", "test", "excluded")] == [7134, 2376, 0]
    found = inspect_table(labels.assign(side=side)[side != "left out"])
    assert len(found.clips) == 9510 and found.counts.shape == (25, 21) and found.shared_signers == []
    side, classes = select_clips(labels, order, SplitPlan(test_participants=GUIDE_TESTERS))
    assert len(classes) == 250 and (side != "left out").all()
    assert abs((select_clips(labels, order)[0] == "test").sum()/9510 - .2) < .03


@real
def test_real_label_table_alone_is_enough_to_plan(labels, tmp_path):
    "No clip is there; the choice and the report are."
    source, out = tmp_path/"asl signs", tmp_path/"plan"
    source.mkdir()
    (source/TABLE).write_bytes(gzip.decompress((SAMPLE/"train_all_labels.csv.gz").read_bytes()))
    shutil.copy(SAMPLE/SIGN_MAP, source)
    planned = run(source, out, signs="ASL25", test_participants=GUIDE_TESTERS, clips="none")
    assert planned.counts == {"train": 7134, "test": 2376} and len(planned.skipped) == 9510 and planned.classes == ASL25
    report = json.loads((out/REPORT).read_text(encoding="utf-8"))
    assert report["table_only"] and report["inspection"]["clips"] == 9510 and len(report["inspection"]["signers"]) == 21
    assert sorted(os.listdir(out)) == ["balance.png", REPORT] and foreign_files(out) == []
    assert any("9,510 clips of 25 signs, chosen from the table" in line for line in describe_preparation(planned))


@real
def test_real_label_table_with_most_files_missing(labels, tmp_path):
    "Four hundred of the guide's clips are there; the other 9,110 are listed."
    source = tmp_path/"asl signs"
    source.mkdir()
    (source/TABLE).write_bytes(gzip.decompress((SAMPLE/"train_all_labels.csv.gz").read_bytes()))
    shutil.copy(SAMPLE/SIGN_MAP, source)
    write_clip(source/"one.parquet", clip(0))
    there = labels[labels.sign.isin(ASL25)].groupby(["sign", "participant_id"]).head(1).groupby("sign").head(16).path
    for name in there:
        (source/name).parent.mkdir(parents=True, exist_ok=True)
        os.link(source/"one.parquet", source/name)
    with pytest.raises(InputError, match=f"{9510 - len(there):,} of 9,510 clips cannot be read"):
        run(source, tmp_path/"out", signs="ASL25")
    prepared = run(source, tmp_path/"out", signs="ASL25", test_participants=GUIDE_TESTERS, skip_bad=True)
    assert sum(prepared.counts.values()) == len(there) == 400 and len(prepared.skipped) == 9110
    assert prepared.classes == ASL25 and set(prepared.test_participants) <= set(GUIDE_TESTERS.split(","))
    (group,) = prepared.as_dict()["inspection"]["duplicates"]
    assert len(group["clips"]) == 400


@real
def test_true_competition_files(tmp_path):
    "One clip of each sign: with all signs, what is tested cannot be trained."
    with pytest.raises(InputError, match="test: no clip of a trained sign is left"):
        run(SAMPLE, tmp_path/"out", clips="copy")
    source = shutil.copytree(SAMPLE, tmp_path/"source")
    table = read_table(source).assign(sign="tree")
    table.to_csv(source/TABLE, index=False)
    prepared = run(source, tmp_path/"out", test_participants="16069")
    assert prepared.counts == {"train": 3, "test": 2}
    assert sorted(map(len, load_dataset(tmp_path/"out")[0])) == sorted(prepared.inspection.clips.frames[:3])
