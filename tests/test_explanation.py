"""Explanations: what was not seen has no effect at all, shares add up, and clips and models of every kind work."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_nb.core.errors import InputError
from asl_nb.data.landmarks import PARTS
from asl_nb.data.synthetic import Signer, perform
from asl_nb.evaluation.explanation import (Explorer, MASKABLE, cut_spans, draw_explanation, explain, frames_read,
                                           mask_landmarks, widen)
from asl_nb.network.model import ASLModel
from asl_nb.training.configuration import RECIPES, TrainingConfig

SIGNS = ("hello", "thankyou", "please", "happy")


@pytest.fixture(scope="module", params=RECIPES)
def model(request):
    torch.manual_seed(0)
    return ASLModel(None, len(SIGNS), max_len=40, **TrainingConfig(recipe=request.param).network | {"dim": 16}).eval()


@settings(max_examples=8, deadline=None)
@given(frames=st.integers(1, 90), seed=st.integers(0, 99), absent=st.sets(st.sampled_from(list(PARTS))))
def test_what_is_not_seen_has_no_effect(model, frames, seed, absent):
    rng = np.random.default_rng(seed)
    clip = rng.uniform(0, 1, (frames, 543, 3)).astype(np.float32)
    for part in absent: clip[:, PARTS[part]] = np.nan
    found = explain(model, SIGNS, clip)
    for part, points in MASKABLE.items():
        unseen = np.isnan(clip[:, list(points), 0]).all()
        assert (found.parts.seen[part] == 0) == unseen
        if unseen:
            assert found.parts.evidence[part] == 0 and found.parts.answer[part] == found.guesses[0].sign
            assert part not in found.moments.index or not found.moments.loc[part].any()
    assert found.sign == found.guesses[0].sign and abs(found.probability - found.guesses[0].probability) < 1e-6
    assert len(found.attention) == frames and (found.attention >= 0).all(axis=None)
    assert np.allclose(found.attention.sum(), 1, atol=1e-5)
    assert found.moments.shape == (5, min(frames, 12)) and np.isfinite(found.moments).all(axis=None)
    assert len(frames_read(model, clip)) == min(frames, 40)


@settings(max_examples=100, deadline=None)
@given(frames=st.integers(1, 400), most=st.integers(1, 30))
def test_spans_cover_a_clip(frames, most):
    spans = cut_spans(frames, most)
    assert [frame for span in spans for frame in range(span.start, span.stop)] == list(range(frames))
    for span in spans:
        wide = widen(span, frames)
        assert 0 <= wide.start <= span.start < span.stop <= wide.stop <= frames


@pytest.mark.parametrize("blocks", [("conv",), ("lstm", "attention"), ("attention", "transformer")])
def test_networks_with_and_without_attention(blocks):
    torch.manual_seed(0)
    model = ASLModel(None, 2, dim=16, blocks=blocks).eval()
    found = explain(model, ("yes", "$no"), perform("please", Signer.random(3)), "$no")
    assert list(found.attention) == ["pooling", *(block for block in blocks if block in ("attention", "transformer"))]
    assert draw_explanation(found).axes and found.sign == "$no" and len(found.guesses) == 2


def test_long_clips_are_explained_in_their_own_frames(model):
    clip = np.repeat(perform("please", Signer.random(3)), 10, axis=0)
    found = explain(model, SIGNS, clip)
    read = frames_read(model, clip)
    assert len(found.attention) == len(clip) > 100 and len(read) == 40 and read[0] == 0 and read[-1] == len(clip) - 1
    assert not found.attention.drop(index=read).any(axis=None)


def test_one_frame_and_nothing_at_all(model):
    for clip in (perform("please", Signer.random(3))[:1], np.full((3, 543, 3), np.nan, np.float32)):
        assert draw_explanation(explain(model, SIGNS, clip)).axes
        assert bytes(Explorer(model, SIGNS, clip).screen.value).startswith(b"\x89PNG")


def test_unknown_signs_are_named(model):
    clip = perform("please", Signer.random(3))
    with pytest.raises(InputError, match="does not know 'helo'; did you mean hello"):
        explain(model, SIGNS, clip, "helo")


def test_the_widget_carries_a_picture(model):
    widget = Explorer(model, SIGNS, perform("please", Signer.random(3)))
    bundle = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and bundle["image/png"].startswith("iVBOR")
    before = bytes(widget.screen.value)
    widget.masked.value = ("face",)
    masked = bytes(widget.screen.value)
    widget.frame.value = 0
    assert len({before, masked, bytes(widget.screen.value)}) == 3


def test_masking_leaves_the_clip_alone():
    clip = perform("please", Signer.random(3))
    before = clip.copy()
    assert np.isnan(mask_landmarks(clip, range(543))).all() and np.array_equal(clip, before, equal_nan=True)
