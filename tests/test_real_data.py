"""Real recordings, where they are present: the rules hold on data that nobody made up for a test."""
from pathlib import Path

import numpy as np
import pytest

from asl_nb.data.datasets import load_folder, load_splits, split_by_participant
from asl_nb.data.layout import count_clips, read_table
from asl_nb.data.splits import SplitPlan

DATA = Path(__file__).resolve().parents[2]/"shared/data"
pytestmark = pytest.mark.skipif(not (DATA/"webcam_asl").exists(), reason="real recordings are not here")


@pytest.fixture(scope="module")
def parts():
    return load_splits(DATA/"webcam_asl", SplitPlan(test_participants=("2002", "1002")), progress=False)


def test_webcam_test_signers_and_excluded(parts):
    assert parts.test.signers == ("1002", "2002")
    assert parts.excluded == {"cat": 29, "food": 30, "help": 30}
    assert len(parts.train) + len(parts.validation) + len(parts.test) + 89 == 2589
    assert parts.skipped == []


def test_webcam_every_class_is_trained(parts):
    assert len(parts.train.classes) == 28 and parts.train.classes == parts.validation.classes == parts.test.classes
    assert set(parts.train.labels.tolist()) == set(range(28))


def test_webcam_validation_is_disjoint(parts):
    "Only 1003 and 2001 can leave without a sign losing its last clips; together they come nearest to 15 %."
    assert parts.validation.signers == ("1003", "2001") and len(parts.validation) == 210
    signers = parts.train.signers + parts.validation.signers + parts.test.signers
    assert len(signers) == len(set(signers)) == 8


def test_webcam_counts_are_those_of_its_table(parts):
    counts = count_clips(read_table(DATA/"webcam_asl"))
    for part in (parts.train, parts.validation, parts.test):
        made = part.summary()
        np.testing.assert_array_equal(made, counts.loc[made.index, made.columns])


def test_webcam_clips_are_clean(parts):
    for clip in parts.test.clips:
        assert clip.dtype == np.float32 and clip.shape[1:] == (543, 3) and 20 <= len(clip) <= 30
        assert not np.isinf(clip).any() and not np.isnan(clip).all()


def test_true_competition_files():
    dataset = load_folder(DATA/"asl_signs_sample", progress=False)
    assert len(dataset) == 5 and len(dataset.signers) == 4
    assert sorted(dataset.lengths) == [11, 42, 105, 105, 233]
    assert dataset.classes == ("cloud", "fall", "green", "if", "tree")
    assert load_folder(DATA/"asl_signs_sample", max_len=64, progress=False).lengths.max() == 64
    rest, held_out = split_by_participant(dataset, participants=16069)
    assert (len(rest), len(held_out)) == (3, 2)
