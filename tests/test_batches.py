"""Batches: nothing is lost in padding or shared out twice, and the order of the clips is nobody else's business."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_nb.core.errors import InputError
from asl_nb.data.batches import (Batch, BatchPlan, BucketBatchSampler, ProcessShare, balanced_weights, collate_clips,
                                 draw_clips, frame_mask, make_loader, padding_share, plan_loader)

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


@settings(max_examples=30, deadline=None)
@given(lengths=lengths, size=st.integers(1, 7))
def test_a_batch_in_pieces_is_the_batch(lengths, size):
    samples = [(make_clip(frames, number), number) for number, frames in enumerate(lengths)]
    batch = collate_clips(samples)
    pieces = batch.split(size)
    assert batch.clips == len(lengths)
    assert all(isinstance(piece, Batch) and 1 <= piece.clips <= size for piece in pieces)
    assert [piece.landmarks.shape[1] for piece in pieces] == [max(piece.lengths.tolist()) for piece in pieces]
    again = [(row[:length].numpy(), label) for piece in pieces for row, length, label in zip(*piece)]
    for (clip, label), (piece, piece_label) in zip(samples, again, strict=True):
        np.testing.assert_array_equal(piece, clip)
        assert piece_label == label


def common_lengths(count, seed=0):
    "Lengths distributed as in asl-signs: median 22, mean 38, 95 % below 135, longest above 500."
    return np.clip(np.random.default_rng(seed).lognormal(np.log(22.5), 1.05, count), 2, 537).astype(int)


def batches_of(sampler, epoch, start=0):
    sampler.set_epoch(epoch)
    sampler.start(start)
    return list(sampler)


def shares_of(world_size):
    "The share of each process."
    return [ProcessShare(rank=rank, world_size=world_size) for rank in range(world_size)]


plans = st.builds(BatchPlan, batch_size=st.integers(1, 9), frame_budget=st.none() | st.integers(1, 60),
                  shuffle=st.booleans(), sort=st.booleans(), seed=st.integers(0, 2**32 - 1),
                  batches_per_pool=st.integers(1, 4))


@settings(max_examples=300, deadline=None)
@given(frames=st.lists(st.integers(1, 20), min_size=4, max_size=60), plan=plans,
       world_size=st.integers(1, 4), epoch=st.integers(0, 3))
def test_no_clip_is_lost_or_doubled_and_no_process_idle(frames, plan, world_size, epoch):
    budget = plan.frame_budget
    samplers = [BucketBatchSampler(frames, plan, share) for share in shares_of(world_size)]
    shares = [batches_of(sampler, epoch) for sampler in samplers]
    assert len({len(share) for share in shares}) == 1 and len(shares[0]) == len(samplers[0])
    assert sorted(index for share in shares for batch in share for index in batch) == list(range(len(frames)))
    for together in zip(*shares):
        sizes = [len(batch) for batch in together]
        assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
        if budget is None: assert sum(sizes) <= plan.batch_size*world_size + world_size - 1
        elif world_size == 1: assert sizes == [1] or sizes[0]*max(frames[index] for index in together[0]) <= budget
    if budget is None: assert sum(len(batch) < plan.batch_size for batch in shares[0]) <= 1


@pytest.mark.parametrize("budget", [None, 900])
@pytest.mark.parametrize("world_size", [1, 3])
def test_an_order_is_a_function_of_seed_and_epoch(budget, world_size):
    plan, share = BatchPlan(batch_size=8, frame_budget=budget, shuffle=True, seed=3), shares_of(world_size)[-1]
    frames = common_lengths(500)
    one, other = [BucketBatchSampler(frames, plan, share) for _ in range(2)]
    walked = [list(one) for _ in range(3)]  # epochs follow each other by themselves
    np.random.seed(0)
    torch.manual_seed(0)
    assert [batches_of(other, epoch) for epoch in (2, 0, 1)] == [walked[2], walked[0], walked[1]]
    assert walked[0] != walked[1] and list(BucketBatchSampler(frames, replace(plan, seed=4), share)) != walked[0]
    for start in (0, 1, len(walked[1]) - 1, len(walked[1])): assert batches_of(other, 1, start) == walked[1][start:]
    other.set_epoch(1)
    assert list(other) == walked[1], "a start holds for one epoch"


@settings(max_examples=100, deadline=None)
@given(frames=st.lists(st.integers(1, 20), min_size=4, max_size=60), least=st.integers(1, 40),
       budget=st.none() | st.integers(1, 60), world_size=st.integers(1, 4), epoch=st.integers(0, 3))
def test_few_clips_make_as_many_batches_as_asked_for_and_many_clips_the_same_as_ever(
        frames, least, budget, world_size, epoch):
    lengths, rules = np.array(frames), dict(batch_size=3, frame_budget=budget, shuffle=True, seed=7)
    once = BatchPlan(**rules).lay_out(lengths, epoch, world_size)
    often = BatchPlan(**rules, least_batches=least).lay_out(lengths, epoch, world_size)
    assert len(often) == max(least, len(once)) and min(map(len, often)) >= world_size
    if len(once) >= least: assert all(np.array_equal(one, other) for one, other in zip(once, often, strict=True))
    passes = sum(map(len, often))/len(frames)
    counts = np.bincount(np.concatenate(often), minlength=len(frames))
    assert passes - 1 <= counts.min() and counts.max() <= passes + 1


def test_more_processes_share_the_same_batches():
    frames = common_lengths(10_000)
    plan = BatchPlan(batch_size=24, shuffle=True, seed=1)
    whole = list(BucketBatchSampler(frames, plan))
    for world_size in (2, 3, 4):
        smaller = replace(plan, batch_size=24//world_size)
        shares = [list(BucketBatchSampler(frames, smaller, share)) for share in shares_of(world_size)]
        assert [sorted(sum(together, [])) for together in zip(*shares)] == [sorted(batch) for batch in whole]
        for together in zip(*shares):
            work = [len(batch)*frames[batch].max() for batch in together if len(batch) == len(together[0])]
            assert max(work) <= 2*min(work)


@pytest.mark.parametrize("count", [20_000, 94_477])
@pytest.mark.parametrize("size, world_size", [({"batch_size": 32}, 1), ({"batch_size": 16}, 4),
                                              ({"frame_budget": 1280}, 1), ({"frame_budget": 4096}, 1)], ids=str)
def test_a_tenth_of_padding_at_most(count, size, world_size):
    frames = common_lengths(count)
    sampler = BucketBatchSampler(frames, BatchPlan(shuffle=True, **size), ProcessShare(world_size=world_size))
    assert padding_share(frames, sampler.batches) < .1
    assert padding_share(frames, BatchPlan(shuffle=True, batches_per_pool=1).lay_out(frames)) > .75


def test_companions_change():
    frames = common_lengths(5000)
    sampler = BucketBatchSampler(frames, BatchPlan(batch_size=32, shuffle=True))
    pairs = [{frozenset((batch[0], other)) for batch in batches_of(sampler, epoch) for other in batch[1:]}
             for epoch in range(2)]
    assert len(pairs[0] & pairs[1]) < .1*len(pairs[0])


@pytest.mark.parametrize("kind, wrong, message", [
    (BatchPlan, {"batch_size": 0}, "batch_size"), (BatchPlan, {"frame_budget": -1}, "frame_budget"),
    (BatchPlan, {"frame_budget": 0}, "frame_budget"), (BatchPlan, {"batches_per_pool": 0}, "batches_per_pool"),
    (ProcessShare, {"world_size": 0}, "world_size"), (ProcessShare, {"rank": 1}, "rank"),
    (ProcessShare, {"rank": -1, "world_size": 2}, "rank")])
def test_wrong_plans_are_refused(kind, wrong, message):
    with pytest.raises(ValueError, match=f"{message}.*received"): kind(**wrong)


def test_fewer_clips_than_processes_are_refused():
    with pytest.raises(InputError, match="2 clips cannot be shared by 3 processes"):
        BucketBatchSampler([3, 4], BatchPlan(), ProcessShare(world_size=3))
    for plan in (BatchPlan(), BatchPlan(shuffle=True)):
        assert [list(BucketBatchSampler([3, 4], plan, share)) for share in shares_of(2)] == [[[1]], [[0]]]


class LazyClips(torch.utils.data.Dataset):
    "Knows its lengths; a clip that is asked for is counted."
    def __init__(self, frames): self.lengths, self.read = np.array(frames), 0
    def __len__(self): return len(self.lengths)
    def __getitem__(self, index):
        self.read += 1
        return make_clip(self.lengths[index], index), index


def test_lengths_are_not_read_off_the_clips():
    dataset = LazyClips([4, 2, 3, 5, 1])
    loaders = [make_loader(dataset, 2), make_loader(dataset, 2, sort=True),
               plan_loader(dataset, BatchPlan(frame_budget=6)),
               make_loader(dataset, 2, shuffle=True)]
    assert dataset.read == 0
    orders = [[batch.labels.tolist() for batch in loader] for loader in loaders]
    assert orders[:3] == [[[0, 1], [2, 3], [4]], [[3, 0], [2, 1], [4]], [[0], [1, 2], [3], [4]]]
    assert sorted(sum(orders[3], [])) == list(range(5)) and dataset.read == 20
    for loader, order in zip(loaders, orders):  # each can go on in the middle, without the clips before it
        read_before = dataset.read
        loader.batch_sampler.set_epoch(0)
        loader.batch_sampler.start(1)
        assert [batch.labels.tolist() for batch in loader] == order[1:] and dataset.read < read_before + 5


def test_workers_give_the_same_batches_and_draw_no_numbers():
    dataset = LazyClips([4, 2, 3, 5, 1])
    state = torch.get_rng_state()
    loader = plan_loader(dataset, BatchPlan(batch_size=2, shuffle=True), workers=1)
    for epoch in range(2):
        plain = make_loader(dataset, 2, shuffle=True)
        plain.batch_sampler.set_epoch(epoch)
        for ours, theirs in zip(loader, plain, strict=True):
            for left, right in zip(ours, theirs): torch.testing.assert_close(left, right, equal_nan=True)
    assert torch.equal(torch.get_rng_state(), state)


@settings(max_examples=60, deadline=None)
@given(clips=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), min_size=1, max_size=60),
       balance=st.floats(0, 1), seed=st.integers(0, 99))
def test_clips_are_dealt_as_often_as_their_weight_says(clips, balance, seed):
    weights = balanced_weights(*zip(*clips), balance)
    times = np.bincount(draw_clips(weights, np.random.default_rng(seed)), minlength=len(clips))
    assert times.sum() == len(clips)
    assert (abs(times - weights*len(clips)) < 1 + 1e-6).all()


def test_rare_versions_of_a_sign_weigh_more_the_more_balance_is_asked_for():
    signers, labels = ["a"]*8 + ["b"]*2, [0]*10
    shares = [balanced_weights(signers, labels, balance)[8:].sum() for balance in (0, .5, 1)]
    np.testing.assert_allclose(shares, [.2, 1/3, .5])
