"""Augmentation: nothing is invented, nothing stored is touched, and the same seed gives the same batch."""
from dataclasses import fields
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from asl_nb.data.batches import collate_clips, frame_mask
from asl_nb.data.landmarks import MIRROR, PARTS, mirror_clip
from asl_nb.training.augmentation import (add_second_hand, affine, affine_matrix, augment, augmentation_generator,
                                          find_partners, mirror, swap_faces, warp_time)
from asl_nb.training.configuration import AugmentationConfig

TIME = dict(time_rate=(.5, 1.5), time_probability=.8, crop_share=(.6, 1), crop_probability=.5)
MOVE = dict(rotation_degrees=30, scale_range=(.8, 1.2), stretch=.2, shear=.15, shift=.1, affine_probability=.8,
            hand_rotation_degrees=20, hand_tilt_degrees=20, hand_scale=.15, hand_shift=.05, finger_scale=.1,
            aspect_jitter=.2)
LOSE = dict(frame_dropout=.3, part_cutout=.3, square_masking=.5, face_dropout=.3, finger_dropout=.1, weak_drop=.3)
ALL = dict(TIME, **MOVE, **LOSE, mirror_probability=.5, second_hand_probability=.5, face_swap_probability=.5)

some = settings(max_examples=20, deadline=None)
lengths = st.lists(st.integers(1, 9), min_size=1, max_size=5)
seeds = st.integers(0, 1000)


def make_batch(lengths, seed):
    "Random clips in which hands, faces, single points and whole frames were not seen."
    rng, samples = np.random.default_rng(seed), []
    for number, frames in enumerate(lengths):
        clip = rng.random((frames, 543, 3), dtype=np.float32)
        for part in PARTS.values():
            clip[rng.random(frames) < rng.choice([0, .3, 1], p=[.5, .3, .2]), part] = np.nan
        clip[rng.random((frames, 543)) < .02] = np.nan
        clip[rng.random(frames) < .1] = np.nan
        samples.append((clip, number % 2))
    return collate_clips(samples)


def same(one, two):
    if one.shape != two.shape or not torch.equal(one.isnan(), two.isnan()): return False
    return torch.equal(one.nan_to_num(9), two.nan_to_num(9))


@some
@given(lengths=lengths, seed=seeds)
def test_everything_at_once_keeps_the_promises(lengths, seed):
    batch, config = make_batch(lengths, seed), AugmentationConfig(**ALL)
    before = [tensor.clone() for tensor in batch]
    result, again = (augment(batch, config, augmentation_generator(seed, 1, 2)) for _ in range(2))
    assert all(map(same, before, batch)), "the batch that was given has changed"
    assert all(map(same, result, again)), "the same seed gave another batch"
    assert torch.equal(result.labels, batch.labels) and (result.lengths >= batch.lengths.clamp(max=2)).all()
    assert result.landmarks.shape == (len(lengths), result.lengths.max(), 543, 3)
    assert result.landmarks.dtype == torch.float32
    assert result.landmarks[~frame_mask(result.lengths, result.landmarks.shape[1])].isnan().all()
    assert not result.landmarks.isinf().any()
    for old, new in zip(batch, result): assert old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr()


@some
@given(lengths=lengths, seed=seeds)
def test_by_default_nothing_changes(lengths, seed):
    batch = make_batch(lengths, seed)
    result = augment(batch, AugmentationConfig(), augmentation_generator(seed, 0, 0))
    assert all(map(same, batch, result))
    assert result.landmarks.data_ptr() != batch.landmarks.data_ptr()


@some
@given(lengths=lengths, seed=seeds, chosen=st.sets(st.sampled_from(sorted(MOVE | LOSE))))
def test_moving_and_erasing_put_no_numbers_where_there_were_none(lengths, seed, chosen):
    batch, values = make_batch(lengths, seed), {name: (MOVE | LOSE)[name] for name in chosen}
    gaps = batch.landmarks.isnan()
    after = augment(batch, AugmentationConfig(**values), augmentation_generator(seed, 0, 0)).landmarks.isnan()
    assert (after >= gaps).all()
    if not chosen & set(LOSE): assert torch.equal(after, gaps)


@pytest.mark.parametrize("name", [name for name in ALL if "probability" not in name] + ["mirror_probability"])
def test_each_field_does_something(name):
    "With one field at a time, some clip comes out different."
    rng = np.random.default_rng(0)
    clips = [rng.random((12, 543, 3), dtype=np.float32) for _ in range(8)]
    for clip in clips[:4]: clip[:, PARTS["left_hand"]] = np.nan
    for clip in clips[4:]: clip[:3, PARTS["right_hand"]] = np.nan
    batch = collate_clips([(clip, 0) for clip in clips])
    result = augment(batch, AugmentationConfig(**{name: ALL[name]}), augmentation_generator(0, 0, 0))
    assert not same(result.landmarks, batch.landmarks)


def resample_slowly(clip, first, last, frames):
    "One landmark coordinate at a time, straight from the definition."
    result = np.empty((frames, *clip.shape[1:]), dtype=np.float64)
    for number in range(frames):
        time = first + (number*(last - first)/(frames - 1) if frames > 1 else 0)
        before = int(time)
        after, share = min(before + 1, len(clip) - 1), time - before
        nearer = clip[round(time)]
        mixed = clip[before]*(1 - share) + clip[after]*share
        result[number] = np.where(np.isnan(mixed) | (share == 0), nearer, mixed)
    return result


@some
@given(lengths=lengths, seed=seeds, rate=st.floats(.5, 1.5), share=st.floats(.5, 1), start=st.floats(0, 1))
def test_time_is_resampled_as_defined(lengths, seed, rate, share, start):
    batch = make_batch(lengths, seed)
    rates = torch.full((len(lengths),), rate)
    landmarks, new_lengths = warp_time(batch.landmarks[:, :, :9], batch.lengths, rates, share, start)
    for clip, row, old, new in zip(batch.landmarks[:, :, :9], landmarks, lengths, new_lengths.tolist()):
        kept = max(round(np.float32(old)*np.float32(share)), min(old, 2))
        first = round(np.float32(old - kept)*np.float32(start))
        assert new == max(round(np.float32(kept)*np.float32(rate)), min(old, 2))
        expected = resample_slowly(clip[:old].double().numpy(), first, first + kept - 1, new)
        moments = np.linspace(first, first + kept - 1, new) % 1
        clear = abs(moments - .5) > 1e-4  # halfway, either neighbour is the nearer one
        np.testing.assert_allclose(row[:new].numpy()[clear], expected[clear], atol=1e-5)
        assert row[new:].isnan().all()


@some
@given(lengths=lengths, seed=seeds)
def test_mirror_is_its_own_inverse_and_agrees_with_mirror_clip(lengths, seed):
    landmarks = make_batch(lengths, seed).landmarks
    np.testing.assert_array_equal(mirror(landmarks).numpy(), mirror_clip(landmarks.numpy()))
    torch.testing.assert_close(mirror(mirror(landmarks)), landmarks, equal_nan=True)
    assert torch.equal(mirror(landmarks).isnan(), landmarks[:, :, MIRROR].isnan())


@some
@given(degrees=st.floats(-180, 180), scale=st.floats(.5, 2), seed=seeds)
def test_rotation_and_scale_keep_shapes_on_the_screen(degrees, scale, seed):
    points = torch.rand(2, 3, 21, 3, generator=torch.Generator().manual_seed(seed))
    before = points.clone()
    centre, shift = before[:, 0, 0, :2], torch.tensor([[.1, -.2]])
    turned = affine(points, affine_matrix(degrees, scale), centre, shift)
    def distances(points):
        place = points[..., :2]*torch.tensor([4/3, 1])
        return (place[..., :, None, :] - place[..., None, :, :]).norm(dim=-1)
    torch.testing.assert_close(distances(turned), scale*distances(points), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turned[..., 2], scale*points[..., 2])
    assert torch.equal(points, before)
    affine(points, affine_matrix(degrees, scale), centre, shift, inplace=True)
    assert torch.equal(points, turned)


@some
@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=9), seed=seeds)
def test_partners_perform_the_same_sign(labels, seed):
    labels, generator = torch.tensor(labels), torch.Generator().manual_seed(seed)
    partners = find_partners(labels, torch.rand(len(labels), len(labels), generator=generator))
    assert torch.equal(labels[partners], labels)
    alone = (labels[:, None] == labels).sum(1) == 1
    assert torch.equal(partners == torch.arange(len(labels)), alone)


@some
@given(lengths=lengths, seed=seeds)
def test_swap_leaves_hands_and_clips_without_partner_alone(lengths, seed):
    batch = make_batch(lengths, seed)
    numbers = torch.arange(len(lengths))
    partners = find_partners(batch.labels, torch.rand(len(lengths), len(lengths)))
    swapped = swap_faces(batch.landmarks, batch.lengths, numbers, partners)
    assert same(swapped[:, :, 468:], batch.landmarks[:, :, 468:])
    assert same(swapped[partners == numbers], batch.landmarks[partners == numbers])


def test_the_generator_depends_on_each_number():
    numbers = list(product((0, 42), range(3), range(3), range(2)))  # seed, epoch, batch, rank
    draws = {torch.rand(1, generator=augmentation_generator(*each)).item() for each in numbers}
    assert len(draws) == len(numbers)
    assert torch.rand(1, generator=augmentation_generator(42, 1, 2)).item() in draws  # rank 0 unless told otherwise


@pytest.mark.parametrize("values", [
    dict(mirror_probability=1.1), dict(time_rate=(1.5, .5)), dict(time_rate=(0, 1)), dict(shift=-.1),
    dict(frame_dropout=1), dict(square_side=(.2, 1.2)), dict(scale_range=(1,)), dict(rotation_degrees=float("nan")),
    dict(misspelt=1)])
def test_values_out_of_range_are_refused_by_name(values):
    with pytest.raises(ValidationError, match=next(iter(values))): AugmentationConfig(**values)


def test_values_are_given_by_name():
    with pytest.raises(TypeError, match=r"AugmentationConfig takes values by name only, received: \(0.5, 1.5\)"):
        AugmentationConfig((.5, 1.5))


@pytest.mark.parametrize("resting", [False, True])
def test_only_clips_with_one_hand_get_a_second_one(resting):
    "Seen in more than half of the frames and in less than a fifth: at the limits themselves nothing happens."
    frames = 10
    clips = np.random.default_rng(0).random((3, frames, 543, 3), dtype=np.float32)
    for clip, right, left in zip(clips, (6, 5, 6), (1, 1, 2)):
        clip[right:, PARTS["right_hand"]], clip[left:, PARTS["left_hand"]] = np.nan, np.nan
    before, lengths = torch.from_numpy(clips), torch.full((3,), frames)
    after = add_second_hand(before, lengths, torch.ones(3, dtype=torch.bool), torch.full((3,), resting))
    assert [not same(one, two) for one, two in zip(before, after)] == [True, False, False]
    assert same(after[:, :, PARTS["right_hand"]], before[:, :, PARTS["right_hand"]])
    seen = (~after[0, :, PARTS["left_hand"].start, 0].isnan()).sum()
    assert seen == (frames if resting else 6)


def test_fields_can_be_taken_over_by_another_configuration():
    @dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
    class Whole(AugmentationConfig):
        epochs: int = Field(3, ge=1, description="passes")
    assert {field.name for field in fields(AugmentationConfig)} < {field.name for field in fields(Whole)}
    assert Whole(epochs=2, time_rate=[.5, 1.2]).time_rate == (.5, 1.2)
    with pytest.raises(ValidationError): Whole(weak_drop=2)
    batch = make_batch([5, 3], 0)
    assert not same(augment(batch, Whole(shift=.1), augmentation_generator(0, 0, 0)).landmarks, batch.landmarks)
