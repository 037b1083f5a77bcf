"""Folders of clips: what is read, what is refused, and that nobody is ever on two sides."""
import json
import pickle
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from asl_nb.core.errors import InputError
from asl_nb.data.clips import write_clip
from asl_nb.data.datasets import (ClipDataset, StoredClips, load_dataset, load_folder, load_splits, pack_folder,
                                  split_by_participant, split_dataset)
from asl_nb.core.names import parse_names
from asl_nb.data.layout import (ASL25, SIGN_MAP, TABLE, count_clips, dataset_layout, read_table, sign_names,
                                _stay_inside, stays_inside)
from asl_nb.data.splits import SplitPlan, assign_splits, stratified_sample

SIGNS = ("please", "hello", "bye")
SIGNERS = ("7", "007", "ana", "dev")


def clip(seed, frames=2):
    "A clip of which only the right hand was seen."
    made = np.full((frames, 543, 3), np.nan, dtype=np.float32)
    made[:, 522:] = np.random.default_rng(seed).random((frames, 21, 3))
    return made


def rounded(made):
    "The clip as a store keeps it."
    return made.astype(np.float16).astype(np.float32)


def make_folder(folder, rows=None, frames=lambda number: 2 + number % 3):
    "A plain folder with one clip per (signer, sign) in `rows`; by default two of every pair."
    rows = rows or [(signer, sign) for signer in SIGNERS for sign in SIGNS for _ in range(2)]
    table = []
    for number, (signer, sign) in enumerate(rows):
        table.append((f"train_landmark_files/{signer}/{number}.parquet", signer, number, sign))
        write_clip(folder/table[-1][0], clip(number, frames(number)))
    pd.DataFrame(table, columns=["path", "participant_id", "sequence_id", "sign"]).to_csv(folder/TABLE, index=False)
    (folder/SIGN_MAP).write_text(json.dumps({"hello": 4, "please": 9, "bye": 2}))
    return folder


@pytest.fixture
def plain(tmp_path):
    return make_folder(tmp_path/"plain")


def memory(rows):
    "A dataset in memory with one tiny clip per (signer, sign)."
    classes = tuple(dict.fromkeys(sign for _, sign in rows))
    return ClipDataset([clip(number, 1) for number in range(len(rows))], [classes.index(sign) for _, sign in rows],
                       [signer for signer, _ in rows], range(len(rows)), classes)


def edit(folder, change):
    "Rewrite the table as text cells."
    table = pd.read_csv(folder/TABLE, dtype=str)
    change(table).to_csv(folder/TABLE, index=False)


def set_cell(column, value, row=3):
    def change(table):
        table.loc[row, column] = value
        return table
    return lambda folder: edit(folder, change)


def write_map(text):
    return lambda folder: (folder/SIGN_MAP).write_text(text)


BAD_FOLDERS = {
    "no columns but one": (lambda f: edit(f, lambda t: t[["path"]]), TABLE, "participant_id, sequence_id, sign"),
    **{f"column {name} missing":
       (lambda f, name=name: edit(f, lambda t: t.drop(columns=name)), TABLE, f"column {name} is missing")
       for name in ("path", "participant_id", "sequence_id", "sign")},
    "empty table": (lambda f: (f/TABLE).write_text(""), TABLE, "empty"),
    "header only": (lambda f: edit(f, lambda t: t[:0]), TABLE, "no rows"),
    "ragged table": (lambda f: (f/TABLE).write_text("path,participant_id,sequence_id,sign\na,b,c,d\na,b,c,d,e,f\n"),
                     TABLE, "not readable"),
    "table not text": (lambda f: (f/TABLE).write_bytes(b"\xff\xfe\x00\x81PAR1" * 9), TABLE, "train.csv"),
    "table is a folder": (lambda f: ((f/TABLE).unlink(), (f/TABLE).mkdir()), TABLE, "is a folder"),
    "empty cell": (set_cell("participant_id", ""), TABLE, "row 5"),
    "path with ..": (set_cell("path", "train_landmark_files/../../plain/train.csv"), TABLE, "leaves the folder"),
    "absolute path": (set_cell("path", "/etc/passwd"), TABLE, "leaves the folder"),
    "windows path": (set_cell("path", "C:\\clips\\a.parquet"), TABLE, "leaves the folder"),
    "backslash ..": (set_cell("path", "..\\a.parquet"), TABLE, "leaves the folder"),
    "backslash inside and out": (set_cell("path", "a\\..\\..\\a.parquet"), TABLE, "leaves the folder"),
    "file not there": (set_cell("path", "train_landmark_files/ana/none.parquet"), TABLE, "does not exist"),
    "path is a folder": (set_cell("path", "train_landmark_files/ana"), TABLE, "does not exist"),
    "very long path": (set_cell("path", "a" * 5000), TABLE, "has 5000 characters"),
    "listed twice": (set_cell("path", "train_landmark_files/7/./0.parquet"), TABLE, "listed twice"),
    "name longer than a file's": (set_cell("path", "a" * 500), TABLE, "does not exist"),
    "one cell too many": (lambda f: (f/TABLE).write_text((f/TABLE).read_text().replace(",hello", ",,hello")), TABLE,
                          "not readable as a CSV table"),
    "column twice but for a space": (lambda f: (f/TABLE).write_text((f/TABLE).read_text().replace("sign", "sign,sign ",
                                                                    1)), TABLE, "column sign is there twice"),
    "escape in a name": (set_cell("sequence_id", "\x1b[2Kall is well"), TABLE, "cannot be shown"),
    "pairs that nobody can count": (lambda f: edit(f, lambda t: pd.concat([t]*400).assign(
        path=[f"{row}.parquet" for row in range(400*len(t))], sign=[f"s{row}" for row in range(400*len(t))],
        participant_id=[f"p{row}" for row in range(400*len(t))])) or write_map(json.dumps(
            {f"s{row}": row for row in range(10_000)}))(f), TABLE, "pairs of a sign and a signer"),
    "label not in map": (set_cell("sign", "helo"), TABLE, "'helo' is not in"),
    "map missing": (lambda f: (f/SIGN_MAP).unlink(), SIGN_MAP, "no such file"),
    "map not JSON": (write_map("{hello"), SIGN_MAP, "not readable as JSON"),
    "map not text": (lambda f: (f/SIGN_MAP).write_bytes(b"\xff\x00"), SIGN_MAP, "not readable as JSON"),
    "map too deep": (write_map("[" * 100_000), SIGN_MAP, "not readable as JSON"),
    "map a list": (write_map('["hello"]'), SIGN_MAP, "must map each sign"),
    "map empty": (write_map("{}"), SIGN_MAP, "must map each sign"),
    "map of text": (write_map('{"hello": "0"}'), SIGN_MAP, "must map each sign"),
    "map of truth": (write_map('{"hello": true}'), SIGN_MAP, "must map each sign"),
    "map with a number below 0": (write_map('{"hello": -1}'), SIGN_MAP, "is not among 0 to 9,999"),
    "map with a sign twice": (write_map('{"hello": 0, "hello": 1}'), SIGN_MAP, "stands twice"),
    "map with an escape": (write_map('{"\\u001b[2K": 0}'), SIGN_MAP, "cannot be shown"),
    "map with a number twice": (write_map('{"hello": 0, "please": 0, "bye": 1}'), SIGN_MAP, "number 0"),
    "truncated clip": (lambda f: (f/"train_landmark_files/ana/13.parquet").write_bytes(b"PAR1"),
                       "13.parquet", "truncated"),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_bad_folder_gives_one_line_with_file_fault_and_cure(plain, name):
    damage, file, fault = BAD_FOLDERS[name]
    damage(plain)
    with pytest.raises(InputError) as caught: load_folder(plain, progress=False)
    message = str(caught.value)
    assert file in message and fault in message
    assert "\n" not in message and len(message) < 6000
    assert ";" in message  # the cure follows


@pytest.mark.parametrize("read", [dataset_layout, load_folder, read_table, load_splits, load_dataset])
def test_places_without_a_dataset(tmp_path, read):
    (tmp_path/"empty").mkdir()
    (tmp_path/"file").write_text("x")
    (tmp_path/"other").mkdir()
    (tmp_path/"other"/"notes.txt").write_text("x")
    (tmp_path/"half"/"train").mkdir(parents=True)
    (tmp_path/"half"/"train"/TABLE).write_text("x")
    for name, fault in {"nowhere": "no such folder", "empty": "is empty", "file": "is a file",
                        "other": "train.csv is missing", "half": "test/train.csv is missing",
                        "n" * 5000: "no such folder"}.items():
        with pytest.raises(InputError, match=fault): read(tmp_path/name)


def test_table_is_text_and_in_the_given_order(plain):
    table = read_table(plain)
    assert table.participant_id.tolist() == [signer for signer in SIGNERS for _ in range(6)]
    assert all(isinstance(value, str) for value in table.to_numpy().ravel())


def test_table_survives_spreadsheets(plain):
    "A byte order mark, spaces around cells, further columns and signs called NA or none."
    text = (plain/TABLE).read_text().replace("hello", "NA").replace("bye", "none").replace(",", " , ")
    (plain/TABLE).write_text("\ufeff" + text.replace("\n", ",7\n").replace(" sign,7", " sign,note", 1))
    (plain/SIGN_MAP).write_text('{"NA": 0, "none": 1, "please": 2}')
    assert load_folder(plain, progress=False).classes == ("NA", "none", "please")


def test_a_split_folder_is_not_read_as_a_plain_one(tmp_path):
    make_folder(tmp_path/"train"), make_folder(tmp_path/"test")
    with pytest.raises(InputError, match="holds train/ and test/"): load_folder(tmp_path)


def test_load_folder_contents_and_order(plain):
    dataset = load_folder(plain, progress=False)
    assert dataset.classes == ("bye", "hello", "please")  # by number in the map
    assert [dataset.classes[label] for label in dataset.labels] == read_table(plain).sign.tolist()
    assert dataset.participants == read_table(plain).participant_id.tolist()
    assert dataset.labels.dtype == np.int64
    for number, (made, label) in enumerate(dataset):
        np.testing.assert_array_equal(made, rounded(clip(number, 2 + number % 3)))
        assert made.dtype == np.float32 and label == dataset.labels[number]
    assert (dataset.summary() == 2).all(axis=None) and dataset.summary().index.tolist() == list(dataset.classes)


def test_load_folder_vocabulary(plain):
    assert load_folder(plain, signs=["please", "bye"], progress=False).classes == ("please", "bye")
    assert load_folder(plain, signs="please , bye", progress=False).table().sign.unique().tolist() == ["please", "bye"]
    with pytest.raises(InputError, match="no clip of thankyou, mom"): load_folder(plain, signs="ASL25")
    with pytest.raises(InputError, match="no sign is named"): load_folder(plain, signs=[])


def test_long_clips_are_shortened_evenly(tmp_path):
    folder = make_folder(tmp_path, [("a", "hello"), ("b", "bye")], frames=lambda number: 9 - 5*number)
    dataset = load_folder(folder, max_len=5, progress=False)
    assert dataset.lengths.tolist() == [5, 4]
    np.testing.assert_array_equal(dataset.clips[0], rounded(clip(0, 9)[::2]))
    assert load_folder(tmp_path, max_len=None, progress=False).lengths.tolist() == [9, 4]


def test_skip_bad_lists_every_bad_clip(plain):
    files = plain/"train_landmark_files"
    (files/"ana"/"13.parquet").write_bytes(b"PAR1")
    (files/"dev"/"20.parquet").unlink()
    dataset = load_folder(plain, skip_bad=True, progress=False)
    assert len(dataset) == 22 and len(dataset.skipped) == 2
    assert all("\n" not in line for line in dataset.skipped)
    assert "13.parquet" in dataset.skipped[0] and "20.parquet" in dataset.skipped[1]
    assert "13" not in dataset.sequence_ids
    parts = load_splits(plain, SplitPlan(test_participants="7"), skip_bad=True, progress=False)
    assert parts.skipped == dataset.skipped
    for path in files.rglob("*.parquet"): path.unlink()
    with pytest.raises(InputError, match="none of the 24 clips"): load_folder(plain, skip_bad=True, progress=False)


def test_skip_bad_forgives_clips_but_not_the_table(plain):
    set_cell("path", "../x.parquet")(plain)
    with pytest.raises(InputError, match="leaves the folder"): load_folder(plain, skip_bad=True)


def test_a_named_sign_with_only_bad_clips_is_an_error(plain):
    for path in read_table(plain).query("sign == 'bye'").path: (plain/path).write_bytes(b"")
    with pytest.raises(InputError, match="no clip of bye is left"):
        load_folder(plain, signs="bye,hello", skip_bad=True, progress=False)
    assert load_folder(plain, skip_bad=True, progress=False).classes == ("hello", "please")


def test_a_bad_clip_of_a_sign_that_nobody_asked_for_is_no_error(plain):
    for path in read_table(plain).query("sign == 'bye'").path: (plain/path).write_bytes(b"")
    assert load_folder(plain, signs="hello,please", progress=False).skipped == []
    with pytest.raises(InputError, match=r"\.parquet: not a readable parquet file.*and 7 more"):
        load_folder(plain, progress=False)


def test_a_repaired_or_changed_clip_is_read_again(plain):
    path = plain/read_table(plain).path[5]
    good = path.read_bytes()
    before = load_folder(plain, progress=False).fingerprint()
    path.write_bytes(b"")
    with pytest.raises(InputError, match=path.name): load_folder(plain, progress=False)
    path.write_bytes(good)
    assert load_folder(plain, progress=False).fingerprint() == before
    write_clip(path, clip(77, 4))
    changed = load_folder(plain, progress=False)
    np.testing.assert_array_equal(changed.clips[5], rounded(clip(77, 4)))
    assert changed.fingerprint() != before


def test_a_corrected_label_counts_at_once(plain):
    before = load_folder(plain, progress=False)
    set_cell("sign", "bye", row=0)(plain)
    after = load_folder(plain, progress=False)
    assert after.table().sign[0] == "bye" and before.table().sign[0] == "please"
    assert after.clips.stores[0].table().sign[0] == "bye"


def test_stored_clips_behave_like_a_list(plain):
    stored = load_folder(plain, max_len=3, progress=False)
    memory_too = [clip for clip in stored.clips]
    assert isinstance(stored.clips, StoredClips) and len(memory_too) == len(stored) == 24
    for index in (0, -1, np.int64(7)): np.testing.assert_array_equal(stored.clips[index], memory_too[index])
    for made, expected in zip(stored.clips[4:20:3], memory_too[4:20:3], strict=True):
        np.testing.assert_array_equal(made, expected)
    assert stored.lengths.tolist() == [len(each) for each in memory_too] and max(stored.lengths) == 3
    with pytest.raises(IndexError): stored.clips[24]
    copy = pickle.loads(pickle.dumps(stored))
    assert copy.fingerprint() == stored.fingerprint()
    np.testing.assert_array_equal(copy.clips[3], memory_too[3])


def test_loader_workers_read_from_the_store(plain):
    dataset = load_folder(plain, progress=False)
    for context in ("fork", "spawn"):
        loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context=context)
        for (made, label), (expected, wanted) in zip(loader, dataset, strict=True):
            np.testing.assert_array_equal(made, expected)
            assert label == wanted


def test_packed_folder_is_read_like_the_original(plain, tmp_path):
    original = load_folder(plain, signs="hello,bye", max_samples=7, max_len=2, progress=False)
    pack_folder(plain, tmp_path/"out", progress=False)
    shutil.rmtree(plain)
    packed = load_folder(tmp_path/"out", signs="hello,bye", max_samples=7, max_len=2, progress=False)
    assert packed.fingerprint() == original.fingerprint() and dataset_layout(tmp_path/"out") == "packed"
    moved = shutil.move(tmp_path/"out", tmp_path/"moved")
    edit(moved, lambda table: table[3:])
    assert len(load_folder(moved, progress=False)) == 21
    set_cell("path", "train_landmark_files/new.parquet")(moved)
    with pytest.raises(InputError, match=r"new.parquet' is not in the store"): load_folder(moved, progress=False)
    data = moved/"clips.npy"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(InputError, match="clips.npy: truncated"): load_folder(moved, progress=False)


def test_packed_folder_remembers_bad_clips(plain, tmp_path):
    (plain/"train_landmark_files"/"ana"/"13.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="13.parquet: not a readable"):
        pack_folder(plain, tmp_path/"out", progress=False)
    with pytest.raises(InputError, match="packing was interrupted here"): load_folder(tmp_path/"out")
    assert len(pack_folder(plain, tmp_path/"out", skip_bad=True, progress=False)[0]) == 23
    with pytest.raises(InputError, match="out/.*13.parquet: not a readable"):
        load_folder(tmp_path/"out", progress=False)
    assert len(load_folder(tmp_path/"out", skip_bad=True, progress=False).skipped) == 1


def test_pack_folder_refuses(plain, tmp_path):
    (tmp_path/"file").write_text("x")
    (tmp_path/"full").mkdir()
    (tmp_path/"full"/"precious.txt").write_text("x")
    pack_folder(plain, tmp_path/"packed", progress=False)
    for source, out, fault in [
            (plain, tmp_path/"file", "is a file"), (plain, tmp_path/"full", "is not empty"), (plain, plain, "lies in"),
            (tmp_path/"packed", tmp_path/"again", "is packed already"),
            (tmp_path/"full", tmp_path/"x", "train.csv is missing")]:
        with pytest.raises(InputError, match=fault): pack_folder(source, out, progress=False)
    assert (tmp_path/"full"/"precious.txt").exists()
    assert len(pack_folder(plain, tmp_path/"packed", progress=False)[0]) == 24


def test_max_samples(plain):
    few = load_folder(plain, max_samples=6, progress=False)
    assert len(few) == 6 and Counter(few.labels.tolist()) == {0: 2, 1: 2, 2: 2} and len(few.signers) == 4
    assert few.fingerprint() == load_folder(plain, max_samples=6, progress=False).fingerprint()
    others = [load_folder(plain, max_samples=6, progress=False, seed=seed).fingerprint() for seed in range(1, 5)]
    assert any(other != few.fingerprint() for other in others)
    assert len(load_folder(plain, max_samples=1000, progress=False)) == 24
    with pytest.raises(InputError, match="max_samples"): load_folder(plain, max_samples=0, progress=False)
    with pytest.raises(InputError, match="raise max_samples"):
        load_folder(plain, signs="hello,bye", max_samples=1, progress=False)


def test_fingerprint_sees_every_change():
    rows = [("a", "hello"), ("b", "bye"), ("a", "bye")]
    base = memory(rows)
    def changed(**fields):
        made = base.select([0, 1, 2])
        for name, value in fields.items(): setattr(made, name, value)
        return made.fingerprint()
    nudged = base.clips[2].copy()
    nudged[0, 530, 1] = np.nextafter(nudged[0, 530, 1], np.float32(2))
    prints = [base.fingerprint(), base.select([2, 1, 0]).fingerprint(), base.select([0, 1]).fingerprint(),
              changed(clips=[*base.clips[:2], nudged]),
              changed(clips=[base.clips[0].reshape(543, 1, 3), *base.clips[1:]]),
              changed(labels=np.array([0, 0, 1])), changed(participants=["a", "b", "c"]),
              changed(sequence_ids=["0", "1", "3"]), changed(classes=("bye", "hello"))]
    assert changed() == prints[0] and len(set(prints)) == len(prints)


def test_names():
    assert parse_names(None) == parse_names("") == ()
    assert parse_names(2002) == parse_names(np.int64(2002)) == ("2002",)
    assert parse_names(["007", 7, "7"]) == ("007", "7")
    assert sign_names("asl25") == ASL25 and len(set(ASL25)) == 25
    assert sign_names(("all",)) == ("all",) and sign_names(" All ") is None


# --- splits ---

def test_split_refuses():
    two = memory([("a", "hello"), ("b", "hello")])
    for options, fault in [(dict(participants="c"), "participants that are there: a, b"),
                           (dict(participants="a,b"), "nobody is left"), (dict(participants=()), "nobody is named"),
                           (dict(share=0), "between 0 and 1"),
                           (dict(share=float("nan")), "between 0 and 1"), (dict(share=1), "between 0 and 1")]:
        with pytest.raises(InputError, match=fault): split_by_participant(two, **options)
    with pytest.raises(InputError, match="only person left"): split_by_participant(memory([("a", "hello")]), share=.5)
    with pytest.raises(ValueError, match="received"): split_by_participant(two)
    with pytest.raises(ValueError, match="received"): split_by_participant(two, participants="a", share=.5)
    with pytest.raises(InputError, match="the only one with some sign"):
        split_by_participant(memory([("a", "hello"), ("b", "bye")]), share=.5, keep_signs=True)


def test_participants_are_strings_in_splits():
    rest, held_out = split_by_participant(memory([("7", "hello"), ("007", "hello"), ("8", "hello")]), participants=[7])
    assert held_out.signers == ("7",) and rest.signers == ("007", "8")


pairs = st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from(["hello", "bye", "mom", "dad"])),
                 min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(rows=pairs, share=st.floats(.01, .99), seed=st.integers(0, 99), keep_signs=st.booleans())
def test_splits_are_disjoint_and_complete(rows, share, seed, keep_signs):
    dataset = memory(rows)
    try: rest, held_out = split_by_participant(dataset, share=share, seed=seed, keep_signs=keep_signs)
    except InputError:
        counts = count_clips(dataset.table())
        spare = [name for name in counts if (counts.drop(columns=name).sum(axis=1) > 0).all()]
        assert counts.shape[1] == 1 or keep_signs and not spare
        return
    assert len(rest) and len(held_out)
    assert not set(rest.participants) & set(held_out.participants)
    assert sorted(rest.sequence_ids + held_out.sequence_ids) == sorted(dataset.sequence_ids)
    assert rest.classes == held_out.classes == dataset.classes
    if keep_signs: assert set(rest.table().sign) == set(dataset.table().sign)
    again = split_by_participant(dataset, share=share, seed=seed, keep_signs=keep_signs)
    assert again[1].fingerprint() == held_out.fingerprint()


@settings(max_examples=60, deadline=None)
@given(rows=pairs, seed=st.integers(0, 99), test=st.sets(st.sampled_from("abcdefg"), max_size=2), named=st.booleans())
def test_parts_are_disjoint_trained_and_account_for_every_clip(rows, seed, test, named):
    dataset = memory(rows)
    plan = SplitPlan(signs=("hello", "bye") if named else "all", test_participants=test, seed=seed)
    try: parts = split_dataset(dataset, plan)
    except InputError as error:
        assert "\n" not in str(error) and ";" in str(error)
        return
    sides = (parts.train, parts.validation, parts.test)
    signers = [signer for part in sides for signer in part.signers]
    assert parts.only_signer or len(signers) == len(set(signers))
    people = {signer for signer, sign in rows if not named or sign in ("hello", "bye")}
    assert (parts.only_signer is None) == (len(people) > 1)
    assert {part.classes for part in sides} == {parts.train.classes}
    assert set(parts.train.labels.tolist()) == set(range(len(parts.train.classes)))
    assert not test or set(parts.test.signers) <= test
    wanted = [sign for _, sign in rows if not named or sign in ("hello", "bye")]
    assert sum(map(len, sides)) + sum(parts.excluded.values()) == len(wanted)
    assert not set(parts.excluded) & set(parts.train.classes)
    original = dataset.table().set_index("sequence_id")
    for part in sides:
        for row in part.table().itertuples():
            assert original.loc[row.sequence_id, ["participant_id", "sign"]].tolist() == [row.participant_id, row.sign]


@settings(max_examples=60, deadline=None)
@given(rows=pairs, most=st.integers(1, 45), seed=st.integers(0, 9))
def test_samples_are_even(rows, most, seed):
    table = memory(rows).table()
    chosen = stratified_sample(table, most, seed)
    assert len(chosen) == min(most, len(rows)) and (np.diff(chosen) > 0).all()
    taken, there = table.sign.iloc[chosen].value_counts(), table.sign.value_counts()
    assert len(taken) == min(most, len(there))
    full = taken.reindex(there.index, fill_value=0)
    unfinished = full[full < there]
    if len(unfinished): assert full.max() - unfinished.min() <= 1


def test_a_plan_may_leave_two_of_six():
    "Of six training signers only two can leave without a sign losing its last clips, as in real collections."
    rows = [("1", "house"), ("1", "no"), ("3", "hello"), ("3", "no"), ("4", "my"), ("5", "bye"),
            ("5", "hello"), ("6", "get"), ("7", "get"), ("7", "a")]
    table = pd.DataFrame(rows*5 + [("t", "hello")]*5 + [("t", "cat")]*5, columns=["participant_id", "sign"])
    for seed in range(10):
        part, classes = assign_splits(table, sorted(set(table.sign)), SplitPlan(test_participants="t", seed=seed))
        assert set(table.participant_id[part == "validation"]) <= {"3", "6"}
        assert set(table.sign[part == "train"]) == set(classes) == set(table.sign) - {"cat"}
        assert (part == "excluded").sum() == 5


def test_parts_refuse():
    rows = [(signer, sign) for signer in "abcd" for sign in ("hello", "bye")] + [("a", "mom"), ("d", "cat")]
    dataset = memory(rows)
    for options, fault in [
            (dict(test_participants="x"), "test_participants: no clips of x; .*a, b, c, d"),
            (dict(test_participants="a,b,c,d"), "test_participants: nobody is left"),
            (dict(test_participants="a,b,c"), "d is the only person left"),
            (dict(test_participants="d", validation_participants="d"), "also in test_participants"),
            (dict(test_participants="d", validation_participants="x"), "validation_participants: no clips of x"),
            (dict(test_participants="d", validation_participants="a"),
             r"without a nobody trains mom \(only a\); choose among b, c"),
            (dict(test_participants="d", signs="hello,cat"),
             r"cat has no training clips \(all 1 are of test signers: d\)"),
            (dict(test_participants="d", signs="hello,dog"), "no clip of dog; name only"),
            (dict(test_share=2), "test_share: must lie between 0 and 1"),
            (dict(validation_share=2), "validation_share: must lie between 0 and 1"),
            (dict(validation_share=-.1), "validation_share: must lie between 0 and 1")]:
        with pytest.raises(InputError, match=fault): split_dataset(dataset, SplitPlan(**options))
    nobody_validates = SplitPlan(test_participants="d", validation_share=0)
    assert not len(split_dataset(dataset, nobody_validates).validation)
    only_cat = memory([("a", "hello"), ("b", "hello"), ("d", "cat")])
    with pytest.raises(InputError, match="left to test on"): split_dataset(only_cat, SplitPlan(test_participants="d"))


def test_folder_parts_are_refused_before_any_clip_is_read(plain):
    for path in plain.rglob("*.parquet"): path.write_bytes(b"not read")
    with pytest.raises(InputError, match="plain: test_participants: no clips of x"):
        load_splits(plain, SplitPlan(test_participants="x"))


def test_load_parts_equals_split_parts(plain):
    plan = SplitPlan(test_participants="dev", validation_share=.3, seed=3)
    from_folder = load_splits(plain, plan, progress=False)
    from_memory = split_dataset(load_folder(plain, progress=False), plan)
    for side in ("train", "validation", "test"):
        assert getattr(from_folder, side).fingerprint() == getattr(from_memory, side).fingerprint()


@pytest.fixture
def split(tmp_path):
    make_folder(tmp_path/"split"/"train", [(signer, sign) for signer in "abc" for sign in SIGNS])
    make_folder(tmp_path/"split"/"test", [("d", sign) for sign in SIGNS])
    return tmp_path/"split"


def test_split_folder(split):
    parts = load_splits(split, progress=False)
    assert parts.test.signers == ("d",) and len(parts.test) == 3
    assert set(parts.train.signers + parts.validation.signers) == set("abc")
    with pytest.raises(InputError, match="split already"): load_splits(split, SplitPlan(test_participants="d"))
    with pytest.raises(InputError, match="validation_participants: no clips of d"):
        load_splits(split, SplitPlan(validation_participants="d"))


def test_takes_of_a_single_person_are_divided():
    dataset = memory([("me", sign) for sign in ("hello", "bye") for _ in range(10)] + [("me", "cat")])
    parts = split_dataset(dataset, SplitPlan(seed=3))
    assert parts.only_signer == "me" and parts.train.classes == ("hello", "bye", "cat")
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [15, 2, 4]
    assert parts.train.summary().loc["cat", "me"] == 1 and parts.test.summary().loc["hello", "me"] == 2
    assert len({name for part in (parts.train, parts.validation, parts.test) for name in part.sequence_ids}) == 21
    assert split_dataset(dataset, SplitPlan(seed=3)).test.sequence_ids == parts.test.sequence_ids
    assert split_dataset(dataset, SplitPlan(seed=4)).test.sequence_ids != parts.test.sequence_ids
    assert len(split_dataset(dataset, SplitPlan(seed=3, validation_share=0)).validation) == 0
    again = split_dataset(parts.train, SplitPlan(validation_share=0), parts.test)  # divided by somebody else
    assert again.only_signer == "me" and len(again.test) == 4
    for options, fault in [(dict(test_participants="me"), "nobody is left to train on"),
                           (dict(validation_participants="me"), "nobody is left to train on"),
                           (dict(test_share=1), "test_share: must lie between"),
                           (dict(signs="cat"), "record each sign more often")]:
        with pytest.raises(InputError, match=fault): split_dataset(dataset, SplitPlan(**options))


def test_every_named_test_signer_is_tested_and_nobody_else():
    dataset = memory([(signer, sign) for signer in "abcde" for sign in ("hello", "bye")])
    parts = split_dataset(dataset, SplitPlan(test_participants="b,d", validation_participants="e"))
    assert {name: part.signers for name, part in parts.parts.items()} == {
        "train": ("a", "c"), "validation": ("e",), "test": ("b", "d")}
    by_share = split_dataset(dataset, SplitPlan(test_participants=["d", "b"], seed=7))
    assert by_share.test.signers == ("b", "d")
    assert not set(by_share.train.signers + by_share.validation.signers) & set("bd")


def test_the_seed_chooses_who_validates():
    "Of several people other seeds choose other people, and of one person other takes; the same seed chooses the same."
    several = memory([(signer, sign) for signer in "abcdef" for sign in ("hello", "bye")])
    alone = memory([("me", sign) for sign in ("hello", "bye") for _ in range(10)])
    def validation(dataset, seed, **plan):
        return tuple(split_dataset(dataset, SplitPlan(seed=seed, **plan)).validation.sequence_ids)
    chosen = [validation(several, seed, test_participants="a") for seed in range(8)]
    assert chosen == [validation(several, seed, test_participants="a") for seed in range(8)] and len(set(chosen)) > 1
    # the test part is fixed here, so that only the choice of validation takes can differ
    tested = alone.select(slice(0, 20, 5))
    rest = alone.select([row for row in range(20) if row % 5])
    def takes(seed): return tuple(split_dataset(rest, SplitPlan(seed=seed), tested).validation.sequence_ids)
    chosen = [takes(seed) for seed in range(8)]
    assert chosen == [takes(seed) for seed in range(8)] and len(set(chosen)) > 1


def test_two_people_are_divided_and_not_their_takes():
    dataset = memory([(signer, sign) for signer in ("me", "you") for sign in ("hello", "bye") for _ in range(5)])
    parts = split_dataset(dataset, SplitPlan(validation_share=0))
    assert parts.only_signer is None and set(parts.train.signers).isdisjoint(parts.test.signers)
    with pytest.raises(InputError, match="validation_share: .* is the only person left.*or set it to 0"):
        split_dataset(dataset)


def test_split_folder_with_other_signs_on_the_sides(tmp_path):
    make_folder(tmp_path/"train", [(signer, sign) for signer in "abc" for sign in ("hello", "bye")])
    make_folder(tmp_path/"test", [("d", "hello"), ("d", "please"), ("e", "please")])
    parts = load_splits(tmp_path, progress=False)
    assert parts.excluded == {"please": 2} and parts.test.classes == ("bye", "hello")
    assert parts.test.labels.tolist() == [1]
    with pytest.raises(InputError, match=r"please has no training clips \(all 2 are of test signers: d, e\)"):
        load_splits(tmp_path, SplitPlan(signs="please,hello"))
    assert load_splits(tmp_path, SplitPlan(signs="hello,bye"), progress=False).test.classes == ("hello", "bye")
    with pytest.raises(InputError, match="no clip of a trained sign is left"):
        load_splits(tmp_path, SplitPlan(signs="bye"), progress=False)
    with pytest.raises(InputError, match="please has no clip in train/"): load_dataset(tmp_path)


def test_split_folder_that_leaks_is_refused(tmp_path):
    make_folder(tmp_path/"train"), make_folder(tmp_path/"test", [("ana", "hello"), ("7", "bye"), ("new", "bye")])
    for read in (load_splits, load_dataset):
        with pytest.raises(InputError, match="participant_id: 7, ana on both sides"): read(tmp_path)


def test_load_dataset(split):
    train_data, train_labels, test_data, test_labels, sign_mapping, classes = load_dataset(split)
    assert classes == ("bye", "hello", "please") and sign_mapping == {"bye": 0, "hello": 1, "please": 2}
    assert len(train_data) == 9 and train_labels.tolist() == [2, 1, 0]*3
    assert len(test_data) == 3 and test_labels.tolist() == [2, 1, 0]
    assert train_labels.dtype == test_labels.dtype == np.int64
    few = load_dataset(data_dir=split, max_len=2, max_samples=4)
    assert len(few[0]) == 4 and max(map(len, few[0])) == 2


def test_load_dataset_wants_a_split_folder(plain):
    with pytest.raises(InputError, match="use load_splits"): load_dataset(plain)


@settings(max_examples=200, deadline=None)
@given(name=st.text(alphabet="ab./\\:\0~ ", max_size=12))
def test_no_path_escapes(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp()/"inside"
    if stays_inside(name): assert (folder/name).resolve().is_relative_to(folder.resolve())
    assert _stay_inside([name]) == [stays_inside(name)]


def link_of_clips(folder):
    (folder/"train_landmark_files").rename(folder.parent/"other disk")
    (folder/"train_landmark_files").symlink_to(folder.parent/"other disk")


def link_of_signer(folder):
    (folder/"train_landmark_files"/"ana").rename(folder.parent/"outside")
    (folder/"train_landmark_files"/"ana").symlink_to(folder.parent/"outside")


def links_of_files(folder):
    for number, path in enumerate(sorted((folder/"train_landmark_files").rglob("*.parquet"))):
        path.rename(folder.parent/f"{number}.parquet")
        path.symlink_to(folder.parent/f"{number}.parquet")


def backslashes(folder):
    edit(folder, lambda table: table.assign(path=table.path.str.replace("/", "\\")))


@pytest.mark.parametrize("change", [link_of_clips, link_of_signer, links_of_files, backslashes])
def test_links_that_a_user_laid_and_paths_of_windows_are_read(plain, tmp_path, change):
    from asl_nb.data.inspection import inspect_dataset
    from asl_nb.data.preparation import prepare
    whole = load_folder(plain, progress=False)
    before = [np.array(clip) for clip in whole.clips]
    change(plain)
    after = load_folder(plain, progress=False)
    assert after.sequence_ids == whole.sequence_ids
    for clip, same in zip(after.clips, before, strict=True): np.testing.assert_array_equal(clip, same)
    pack_folder(plain, tmp_path/"packed", progress=False)
    assert load_folder(tmp_path/"packed", progress=False).fingerprint() == whole.fingerprint()
    assert not len(inspect_dataset(plain, progress=False).not_read)
    prepare(plain, tmp_path/"split", SplitPlan(signs="all", test_participants="7"), progress=False)
    assert len(load_folder(tmp_path/"split"/"train", progress=False)) == (whole.table().participant_id != "7").sum()


def test_a_link_to_what_is_no_clip_is_refused_as_a_clip(plain):
    (plain/"train_landmark_files"/"ana"/"13.parquet").unlink()
    (plain/"train_landmark_files"/"ana"/"13.parquet").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="13.parquet'? does not exist|is a pipe or a device"):
        load_folder(plain, progress=False)
