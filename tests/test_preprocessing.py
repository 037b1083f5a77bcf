"""Preprocessing: mirrored, moved, padded or lengthened, a clip tells the network the same."""
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asl_nb.data.batches import collate_clips
from asl_nb.data.body import drop_doubled, split_missing
from asl_nb.data.landmarks import PARTS, mirror_clip
from asl_nb.data.synthetic import LEXICON, Signer, perform
from asl_nb.network.choices import FEATURES, POINT_SETS
from asl_nb.network.features import pool_frames
from asl_nb.network.preprocessing import PreprocessingLayer
from asl_nb.training.configuration import RECIPES, TrainingConfig
from asl_nb.training.trainer import batch_transform

best = RECIPES["best"]
SELECTION = ("dominant_hand", "drop_doubled", "hand_size", "frame_pooling")
some = settings(max_examples=15, deadline=None)
signs, seeds = st.sampled_from(sorted(LEXICON)[:10]), st.integers(0, 200)


def best_layer(**settings):
    "The best recipe's first layer, with these changes."
    settings = {name: best[name] for name in ("features", "centre", *SELECTION)} | settings
    return PreprocessingLayer(point_landmarks=POINT_SETS[best["points"]], **settings)


def look(clip, **settings):
    "All features of one clip."
    return best_layer(**settings)(torch.from_numpy(clip)[None])[0][0]


@some
@given(sign=signs, seed=seeds)
def test_a_selfie_camera_changes_nothing(sign, seed):
    clip = perform(sign, Signer.random(seed), seed=seed)
    torch.testing.assert_close(look(mirror_clip(clip)), look(clip), atol=1e-4, rtol=1e-4)


def seen_from_elsewhere(clip, far, right, up):
    "The same performance, smaller or larger in the image and at another place."
    return (clip*far + np.array([right, up, 0.])).astype(np.float32)


@some
@given(sign=signs, seed=seeds, far=st.floats(.5, 1.5), right=st.floats(-.3, .3), up=st.floats(-.3, .3))
def test_where_the_person_stands_changes_nothing(sign, seed, far, right, up):
    clip = perform(sign, Signer.random(seed), seed=seed)
    torch.testing.assert_close(look(seen_from_elsewhere(clip, far, right, up)), look(clip), atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("sign, seed, far", [("go", 60, .5), ("go", 60, 1.5)])
def test_where_the_person_stands_changes_nothing_when_a_sign_changes_hands(sign, seed, far):
    clip = perform(sign, Signer.random(seed), seed=seed)
    torch.testing.assert_close(look(seen_from_elsewhere(clip, far, 0, 0)), look(clip), atol=2e-3, rtol=2e-3)


def found_twice(clip, part, other, away=.004):
    "One hand of a clip is found once more where the other should be."
    doubled = clip.copy()
    doubled[:, PARTS[other]] = clip[:, PARTS[part]] + np.float32(away)
    return doubled


@some
@given(sign=signs, seed=seeds, part=st.sampled_from(["left_hand", "right_hand"]))
def test_a_hand_that_was_found_twice_is_seen_once(sign, seed, part):
    clip, other = perform(sign, Signer.random(seed), seed=seed), {"left_hand": "right_hand", "right_hand": "left_hand"}
    assume(np.isfinite(clip[:, PARTS[part]]).any())
    clip[:, PARTS[other[part]]] = np.nan
    doubled = found_twice(clip, part, other[part])
    once = drop_doubled(torch.from_numpy(doubled)[None])[0].numpy()
    torch.testing.assert_close(look(doubled), look(once, drop_doubled=False))
    torch.testing.assert_close(look(mirror_clip(mirror_clip(doubled))), look(doubled), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(look(mirror_clip(doubled)), look(doubled), atol=1e-4, rtol=1e-4)
    padded = torch.cat([torch.from_numpy(doubled), torch.full((5, *doubled.shape[1:]), 7.)])[None]
    features, mask = best_layer()(padded, torch.tensor([len(doubled)]))
    torch.testing.assert_close(features[mask], look(doubled))


def test_a_hand_that_was_found_twice_does_not_survive_augmentation():
    clip = perform("please", Signer.random(3), seed=0)
    clip[:, PARTS["left_hand"]] = np.nan
    batch = collate_clips([(found_twice(clip, "right_hand", "left_hand"), 0)]*4)
    change = dict(hand_shift=.05, hand_rotation_degrees=20.)
    for dropped in (True, False):
        transform = batch_transform(TrainingConfig.guide(drop_doubled=dropped, **change), epoch=0, classes=2)
        seen = ~transform(batch, 0).landmarks[:, :, PARTS["left_hand"], 0].isnan()
        assert seen.any() != dropped


@pytest.mark.parametrize("feature", FEATURES)
def test_each_feature_alone_has_the_announced_size_and_no_nan(feature):
    clip = perform("please", Signer.random(1), seed=1)
    clip[3:6, 468:] = float("nan")
    features = look(clip, features=(feature,))
    layer = PreprocessingLayer(point_landmarks=POINT_SETS[best["points"]], features=(feature,))
    assert features.shape == (-(-len(clip)//best["frame_pooling"]), layer.output_dim)
    assert features.isfinite().all() and features.abs().sum() > 0


@some
@given(frames=st.lists(st.integers(1, 9), min_size=1, max_size=3), count=st.integers(1, 5), seed=seeds)
def test_pooled_frames_are_means_of_what_was_seen(frames, count, seed):
    rng, longest = np.random.default_rng(seed), max(frames)
    clips = rng.normal(size=(len(frames), longest, 2, 2)).astype(np.float32)
    clips[rng.random(clips.shape[:3]) < .3] = np.nan
    real = torch.arange(longest) < torch.tensor(frames)[:, None]
    pooled, mask = pool_frames(split_missing(torch.from_numpy(clips), real), real, count)
    assert mask.sum(1).tolist() == [-(-each//count) for each in frames] and not (pooled.seen*~mask[:, None, None]).any()
    for row, length in enumerate(frames):
        for place, first in enumerate(range(0, length, count)):
            window = clips[row, first:min(first + count, length)]
            seen = np.isfinite(window[..., 0])
            assert (pooled.seen[row, :, 0, place].numpy() == seen.any(0)).all()
            means = [window[seen[:, point], point].mean(0) if seen[:, point].any() else np.zeros(2) for point in (0, 1)]
            np.testing.assert_allclose(pooled.known()[row, :, :, place], means, atol=1e-6)
