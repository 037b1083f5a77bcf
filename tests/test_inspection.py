"""Inspections: what is wrong with a folder is found, and nothing in it is touched."""
import gzip
import json
import os
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_nb.core.errors import InputError
from asl_nb.data.browser import ClipBrowser
from asl_nb.data.clips import read_clip, write_clip
from asl_nb.data.datasets import load_folder, pack_folder
from asl_nb.data.inspection import (STEPS, content_hash, dominant_hand, hand_path, inspect_dataset, inspect_table,
                                    look_at, missing_parts, suspicions)
from asl_nb.data.landmarks import PARTS, mirror_clip
from asl_nb.data.layout import SIGN_MAP, TABLE, read_table
from asl_nb.data.synthetic import synthetic_dataset, write_synthetic

SAMPLE = Path(__file__).resolve().parents[2]/"shared/data/asl_signs_sample"
real = pytest.mark.skipif(not SAMPLE.exists(), reason="real recordings are not here")
HEALTHY = synthetic_dataset(signers=2, clips_per_sign=1, seed=3, signs=("hello", "go", "please"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "Two people, three signs, in a folder whose name has a space and letters that are not ASCII."
    return write_synthetic(tmp_path_factory.mktemp("in spectión")/"Gebärden 手话", signers=2, clips_per_sign=2, seed=1,
                           signs=("hello", "go", "please"), progress=False)


@pytest.fixture
def folder(made, tmp_path):
    "A copy that a test may change."
    return shutil.copytree(made, tmp_path/"Gebärden 手话")


def split(folder, rows):
    "A split folder with the given rows of a plain folder on the train side, the others on the test side."
    table = read_table(folder)
    for side, here in (("train", table.index.isin(rows)), ("test", ~table.index.isin(rows))):
        shutil.copytree(folder, folder.parent/"split"/side)
        table[here].to_csv(folder.parent/"split"/side/TABLE, index=False)
    return folder.parent/"split"


def state(folder):
    "Every file of a folder with its content and its time."
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_healthy_clips_are_not_suspected():
    assert [suspicions(clip) for clip in HEALTHY.clips] == [""]*6


@pytest.mark.parametrize("spoil, expected", [
    (lambda clip: clip[12:13], "one frame"),
    (lambda clip: np.repeat(clip[12:13], 9, axis=0), "frozen"),
    (lambda clip: np.repeat(clip[12:13], 9, axis=0) + np.linspace(0, 9e-4, 9, dtype=np.float32)[:, None, None],
     "frozen"),
    (lambda clip: np.nan_to_num(clip), "constant"),
    (lambda clip: np.where(np.isin(np.arange(543), np.r_[468:489, 522:543])[:, None], np.nan, clip), "no hands"),
    (lambda clip: np.full_like(clip, np.nan), "nobody, no hands"),
    (lambda clip: np.zeros_like(clip), "frozen, constant"),
    (lambda clip: np.full_like(clip[:1], np.nan), "nobody, no hands, one frame")])
def test_suspicions(spoil, expected):
    assert suspicions(spoil(HEALTHY.clips[0].copy())) == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5), st.integers(0, 2**20))
def test_mirror_changes_the_hand_and_nothing_else(number, seed):
    clip = HEALTHY.clips[number].copy()
    clip[np.random.default_rng(seed).random(len(clip)) < .2, PARTS["left_hand"]] = np.nan
    mirrored, other = mirror_clip(clip), {"left": "right", "right": "left", "neither": "neither"}
    one, two = missing_parts(clip), missing_parts(mirrored)
    assert dominant_hand(mirrored) == other[dominant_hand(clip)] and one["hands"] == two["hands"]
    assert (one["left_hand"], one["right_hand"]) == (two["right_hand"], two["left_hand"])
    np.testing.assert_allclose(hand_path(mirrored), hand_path(clip), atol=1e-4)


def test_tie_goes_to_the_hand_that_moves_more():
    clip = np.full((5, 543, 3), np.nan, dtype=np.float32)
    clip[:, PARTS["left_hand"]] = np.linspace(0, 1, 5)[:, None, None]
    clip[:, PARTS["right_hand"]] = .5
    assert dominant_hand(clip) == "left"
    clip[0, PARTS["left_hand"]] = np.nan  # no tie any more: seen in more frames wins, though it rests
    assert dominant_hand(clip) == "right"
    assert np.isnan(hand_path(clip)).all() and hand_path(clip).shape == (STEPS, 2)  # no shoulders


def test_content_hash_sees_numbers_only():
    clip = HEALTHY.clips[0].copy()
    odd = clip.copy()
    odd.view(np.uint32)[np.isnan(odd)] = 0xffc01234  # another way to write NaN
    assert np.isnan(odd).sum() == np.isnan(clip).sum() and content_hash(odd) == content_hash(clip)
    assert content_hash(clip[:-1]) != content_hash(clip) != content_hash(np.nan_to_num(clip))


def test_findings_of_a_plain_folder(folder):
    names = read_table(folder).path
    write_clip(folder/names[7], read_clip(folder/names[2]), first_frame=9)
    write_clip(folder/names[4], np.repeat(read_clip(folder/names[4])[15:16], 20, axis=0))
    before = state(folder)
    found = inspect_dataset(folder, progress=False)
    assert found.duplicates.path.tolist() == [names[2], names[7]] and found.duplicates.group.tolist() == [0, 0]
    assert "frozen" in found.suspicious.suspicion[4] and len(found.suspicious) == 1
    assert found.imbalance["signs"]["ratio"] == 1 and found.rare_signs.empty and found.shared_signers == []
    np.testing.assert_array_equal(found.clip(7), read_clip(folder/names[2]))
    assert found.clips.frames.tolist() == [len(read_clip(folder/name)) for name in names]
    assert state(folder) == before
    text = "\n".join(found.describe())
    assert f"{names[2]} = {names[7]}" in text and "frozen" in text


def test_duplicates_and_signers_across_sides(folder):
    names = read_table(folder).path
    shutil.copy(folder/names[0], folder/names[8])
    found = inspect_dataset(split(folder, range(6)), progress=False)
    assert found.shared_signers == [] and [group["across_sides"] for group in found.as_dict()["duplicates"]] == [True]
    assert found.as_dict()["duplicates"][0]["clips"] == [f"train/{names[0]}", f"test/{names[8]}"]
    shutil.rmtree(folder.parent/"split")
    found = inspect_dataset(split(folder, [0, 1, 6, 7]), progress=False)
    assert found.shared_signers == ["synthetic01", "synthetic02"] and found.untrained_signs == ["go", "please"]
    lines = found.describe()
    for told in ("signers in train and in test: 2", "signs only in test: 2"): assert any(told in line for line in lines)


def test_packed_folder_gives_the_same_findings(folder):
    names = read_table(folder).path
    shutil.copy(folder/names[0], folder/names[8])
    (folder/names[3]).write_bytes(b"broken")
    pack_folder(folder, folder.parent/"packed", skip_bad=True, progress=False)
    one, two = [inspect_dataset(each, skip_bad=True, progress=False) for each in (folder, folder.parent/"packed")]
    assert one.duplicates.path.tolist() == two.duplicates.path.tolist() == [names[0], names[8]]
    assert one.not_read.path.tolist() == two.not_read.path.tolist() == [names[3]]
    same = ["frames", "missing_face", "missing_left_hand", "missing_right_hand", "missing_hands", "dominant_hand"]
    pd.testing.assert_frame_equal(one.clips[same], two.clips[same])
    np.testing.assert_allclose(one.hand_paths, two.hand_paths, atol=.02)
    assert two.clip(8).shape == one.clip(8).shape


def test_processes_change_nothing(folder):
    one, two = [inspect_dataset(folder, jobs=jobs, progress=False) for jobs in (1, 2)]
    pd.testing.assert_frame_equal(one.clips, two.clips)
    np.testing.assert_array_equal(one.hand_paths, two.hand_paths)


def test_unreadable_clips_are_refused_with_a_count_or_listed(folder):
    names = read_table(folder).path
    for name in names[2:5]: (folder/name).unlink()
    with pytest.raises(InputError, match=r"no such file.*3 of 12 clips cannot be read") as raised:
        inspect_dataset(folder, progress=False)
    assert str(folder/names[2]) in str(raised.value)
    assert inspect_dataset(folder, table_only=True).not_read.path.tolist() == names[2:5].tolist()
    for name in names[2:5]: (folder/name).write_bytes(b"broken")
    with pytest.raises(InputError, match="not a readable parquet file.*3 of 12"):
        inspect_dataset(folder, progress=False)
    found = inspect_dataset(folder, skip_bad=True, progress=False)
    assert len(found.read) == 9 and len(found.as_dict()["not_read"]) == 3


def test_folder_without_a_readable_clip(folder, tmp_path):
    for name in read_table(folder).path: (folder/name).unlink()
    found = inspect_dataset(folder, skip_bad=True, progress=False)
    assert [path.name for path in found.write(tmp_path/"report")] == ["inspection.json", "balance.png"]
    assert any("cannot be read: 12" in line for line in found.describe())
    browser = ClipBrowser(found)
    assert browser.children[2].children[0].value == "no clip is like this"
    assert "image/png" in browser._repr_mimebundle_()


def test_one_signer_and_one_clip():
    row = {"path": "a.parquet", "participant_id": "ana", "sequence_id": "1", "sign": "hello"}
    found = inspect_table(pd.DataFrame([row]))
    assert found.rare_signs.loc["hello"].tolist() == [1, 1]
    assert found.describe()[-2:] == ["  signs with a single clip: 1 (hello)", "  signs with a single signer: 1 (hello)"]


def test_report_is_whole_and_leaves_no_figure_open(made, tmp_path):
    found, figures = inspect_dataset(made, progress=False), plt.get_fignums()
    files = found.write(tmp_path/"Bericht über 手话")
    assert plt.get_fignums() == figures
    def refuse(constant): raise AssertionError(constant)
    assert json.loads(files[0].read_text(encoding="utf-8"), parse_constant=refuse) == found.as_dict()
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files[1:]) and len(files) == 6
    assert sorted(os.listdir(tmp_path/"Bericht über 手话")) == sorted(path.name for path in files)
    with pytest.raises(InputError, match="cannot be written"): found.write(files[0]/"under a file")
    assert plt.get_fignums() == figures


def test_not_a_folder_of_clips(tmp_path):
    with pytest.raises(InputError, match="no such folder"): inspect_dataset(tmp_path/"nowhere")
    with pytest.raises(InputError, match="empty"): inspect_dataset(tmp_path)


def test_browser_filters(made):
    found = inspect_dataset(made, progress=False)
    filters, listed, _ = ClipBrowser(found).children
    sign, signer, hand = filters.children
    assert len(listed.options) == 12
    sign.value, signer.value = "go", "synthetic02"
    rows = [row for _, row in listed.options]
    assert found.clips.loc[rows, ["sign", "participant_id"]].values.tolist() == [["go", "synthetic02"]]*2
    sign.value = signer.value = None
    assert len(listed.options) == 12


def test_look_at_gives_plain_values():
    for value in vars(look_at(HEALTHY.clips[1])).values(): assert type(value) in (int, float, str)


@real
def test_true_competition_files():
    found = inspect_dataset(SAMPLE, progress=False)
    assert sorted(found.read.frames) == [11, 42, 105, 105, 233] and found.duplicates.empty and found.suspicious.empty
    assert (found.read.missing_pose == 0).all() and (found.read.missing_hands > 0).any()


@real
def test_real_label_table_without_a_clip(tmp_path):
    (tmp_path/TABLE).write_bytes(gzip.decompress((SAMPLE/"train_all_labels.csv.gz").read_bytes()))
    shutil.copy(SAMPLE/SIGN_MAP, tmp_path)
    found = inspect_dataset(tmp_path, table_only=True)
    files = found.write(tmp_path/"report")
    content = json.loads(files[0].read_text())
    counts = (content["clips"], len(content["signs"]), len(content["signers"]), len(content["not_read"]))
    assert counts == (94477, 250, 21, 94477)
    assert content["single_clip_or_signer"] == {} and 1 < content["imbalance"]["signers"]["ratio"] < 2


def test_who_has_hands_found_twice_is_told(folder):
    table = read_table(folder)
    someone = table.participant_id[0]
    for path in table.path[table.participant_id == someone]:
        clip = read_clip(folder/path)
        clip[:, PARTS["left_hand"]] = clip[:, PARTS["right_hand"]]
        write_clip(folder/path, clip)
    found = inspect_dataset(folder, progress=False)
    shares = found.as_dict()["doubled_hands_by_signer"]
    assert shares.pop(someone) > .9 and set(shares.values()) == {0}
    assert any(f"found twice: 1 ({someone} " in line for line in found.describe())


def changed(folder, change):
    "Every clip of a folder, changed."
    for name in read_table(folder).path:
        clip = read_clip(folder/name)
        change(clip)
        write_clip(folder/name, clip)
    return folder


def zeros_for_nothing(clip): clip[np.isnan(clip)] = 0


def test_parts_written_as_zeros_were_not_seen(folder, tmp_path):
    before = inspect_dataset(folder, progress=False)
    clips = [read_clip(folder/name) for name in before.clips.path]
    after = inspect_dataset(changed(folder, zeros_for_nothing), progress=False)
    for clip, name in zip(clips, after.clips.path): np.testing.assert_array_equal(read_clip(folder/name), clip)
    one, two = before.as_dict(), after.as_dict()
    assert one["missing"] == two["missing"] and two["missing"]["left_hand"] > .4 and one["zeros"]["clips"] == 0
    absent = sum((np.isnan(clip[:, 468:489, 0]) | np.isnan(clip[:, 522:, 0])).any(1).sum() for clip in clips)
    assert two["zeros"] == {"clips": len(clips), "frames": round(absent/sum(map(len, clips)), 4)}
    [line] = [line for line in after.describe() if "written as 0, 0, 0" in line]
    assert f"in {absent/sum(map(len, clips)):.0%} of the frames" in line
    for clip, stored in zip(clips, load_folder(folder, progress=False).clips): # what is trained on
        np.testing.assert_array_equal(np.isnan(stored), np.isnan(clip))
    packed = tmp_path/"packed"
    pack_folder(folder, packed, progress=False)
    assert inspect_dataset(packed, progress=False).as_dict()["missing"] == one["missing"]


@pytest.mark.parametrize("part, line", [("face", "face: never seen in any clip"), ("pose", "body: never seen in any")])
def test_a_part_that_is_never_seen_is_a_finding(folder, part, line):
    def without(clip): clip[:, PARTS[part]] = np.nan
    found = inspect_dataset(changed(folder, without), progress=False)
    assert [each for each in found.describe() if line in each]
    assert found.as_dict()["never_seen"][part] == ["synthetic01", "synthetic02"]


def test_signers_whose_face_is_never_seen_are_named(folder):
    for name, signer in read_table(folder)[["path", "participant_id"]].itertuples(index=False):
        if signer != "synthetic02": continue
        clip = read_clip(folder/name)
        clip[:, PARTS["face"]] = np.nan
        write_clip(folder/name, clip)
    lines = inspect_dataset(folder, progress=False).describe()
    assert "  signers whose face is never seen: 1 (synthetic02)" in lines
    assert any("two signers only: one to train on and one to be tested on (synthetic01, synthetic02)" in line
               for line in lines)


@pytest.mark.parametrize("with_body", [True, False])
def test_doubled_hands_are_a_finding(folder, with_body):
    def doubled(clip):
        clip[:, PARTS["left_hand"]] = clip[:, PARTS["right_hand"]]
        if not with_body: clip[:, PARTS["pose"]] = np.nan
    assert any("one was found twice: 2 (synthetic01 100.0%" in line
               for line in inspect_dataset(changed(folder, doubled), progress=False).describe())


def test_figures_number_the_names_that_no_font_can_draw(folder, tmp_path, recwarn):
    from asl_nb.core import figures
    figures.NUMBERED.clear()
    names = {"hello": "привет", "go": "ไป", "please": "请"}
    table = read_table(folder)
    table.assign(sign=table.sign.map(names)).to_csv(folder/TABLE, index=False)
    signs = {names.get(sign, sign): number for sign, number in json.loads((folder/SIGN_MAP).read_text()).items()}
    (folder/SIGN_MAP).write_text(json.dumps(signs))
    inspect_dataset(folder, progress=False).write(tmp_path/"out")
    numbered = dict(figures.NUMBERED)
    figures.NUMBERED.clear()
    assert list(numbered) == [name for name in numbered if not all(map(figures._family_with, name))] # no font has them
    assert "привет" not in numbered
    assert not [each for each in recwarn if "lyph" in str(each.message)]
