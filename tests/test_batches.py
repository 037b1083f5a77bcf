"""Batches: nothing is lost in padding, and the order of the clips is nobody else's business."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_nb.batches import Batch, collate_clips, frame_mask, make_loader

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def make_clip(frames, seed):
    "Random coordinates, of which some landmarks and now and then a whole frame were not seen."
    rng = np.random.default_rng(seed)
    clip = rng.normal(size=(frames, 543, 3)).astype(np.float32)
    clip[rng.random((frames, 543)) < .3] = np.nan
    clip[rng.random(frames) < .2] = np.nan
    return clip


@settings(max_examples=40, deadline=None)
@given(lengths=lengths, seed=st.integers(0, 1000))
def test_every_clip_can_be_recovered(lengths, seed):
    samples = [(make_clip(frames, seed + number), number) for number, frames in enumerate(lengths)]
    batch = collate_clips(samples)
    mask = frame_mask(batch.lengths, batch.landmarks.shape[1])
    assert batch.landmarks.shape == (len(lengths), max(lengths), 543, 3)
    assert [tensor.dtype for tensor in batch] == [torch.float32, torch.int64, torch.int64]
    assert batch.landmarks[~mask].isnan().all()
    for number, (clip, label) in enumerate(samples):
        np.testing.assert_array_equal(batch.landmarks[number][mask[number]].numpy(), clip)
        assert batch.lengths[number] == len(clip) and batch.labels[number] == label


@settings(max_examples=60, deadline=None)
@given(lengths=lengths, extra=st.integers(0, 5))
def test_mask_sums_to_lengths_and_is_a_prefix(lengths, extra):
    mask = frame_mask(torch.tensor(lengths), max(lengths) + extra)
    assert mask.dtype == torch.bool and mask.sum(1).tolist() == lengths
    assert not (mask[:, 1:] & ~mask[:, :-1]).any()


def test_mask_exports_with_free_sizes():
    class Module(torch.nn.Module):
        def forward(self, lengths, block): return frame_mask(lengths, block.shape[1])
    batch, time = torch.export.Dim("batch", min=2), torch.export.Dim("time", min=2)
    example = (torch.tensor([3, 5, 1]), torch.zeros(3, 5))
    exported = torch.export.export(Module(), example, dynamic_shapes=({0: batch}, {0: batch, 1: time})).module()
    torch.testing.assert_close(exported(torch.tensor([7, 2]), torch.zeros(2, 9)), frame_mask(torch.tensor([7, 2]), 9))


@pytest.mark.parametrize("bad, received", [([], "none"), ([(np.zeros((0, 543, 3)), 0)], r"\(0, 543, 3\)"),
    ([(np.zeros((4, 542, 3)), 0)], r"\(4, 542, 3\)"), ([(np.zeros((4, 543)), 0)], r"\(4, 543\)"),
    ([(np.zeros((4, 543, 3)), 0), (np.zeros((4, 543, 2)), 0)], r"\(4, 543, 2\)")])
def test_what_is_not_a_clip_is_refused(bad, received):
    with pytest.raises(ValueError, match=f"received: {received}"): collate_clips(bad)


def test_other_kinds_of_arrays():
    "Read-only, double precision, transposed and torch clips all arrive as float32; the originals are left alone."
    clip = make_clip(4, 0)
    frozen, double = clip.copy(), clip.astype(np.float64)
    frozen.flags.writeable = False
    backwards = np.asfortranarray(clip)
    batch = collate_clips([(frozen, 0), (double, 1), (backwards, 2), (torch.from_numpy(clip), torch.tensor(3))])
    for row in batch.landmarks: np.testing.assert_array_equal(row.numpy(), clip)
    batch.landmarks.zero_()
    np.testing.assert_array_equal(frozen, make_clip(4, 0))


def test_loader_order_belongs_to_its_seed():
    samples = [(make_clip(2, number), number) for number in range(11)]
    def epochs(seed, shuffle=True):
        loader = make_loader(samples, batch_size=4, shuffle=shuffle, seed=seed)
        return [torch.cat([batch.labels for batch in loader]).tolist() for _ in range(2)]
    torch.manual_seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = epochs(0)
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(np.random.get_state()[1], numpy_before)
    torch.manual_seed(6)
    assert epochs(0) == first and epochs(1) != first and first[0] != first[1]
    assert all(sorted(order) == list(range(11)) for order in first)
    assert epochs(0, shuffle=False) == [list(range(11))]*2


def test_loader_keeps_the_last_batch():
    samples = [(make_clip(2, number), number) for number in range(5)]
    batches = list(make_loader(samples, batch_size=2))
    assert [len(batch.labels) for batch in batches] == [2, 2, 1] and all(isinstance(batch, Batch) for batch in batches)
    with pytest.raises(ValueError, match="empty dataset"): make_loader([])


def test_batch_moves():
    batch = collate_clips([(make_clip(2, 0), 0)]).to("meta")
    assert isinstance(batch, Batch) and {tensor.device.type for tensor in batch} == {"meta"}
