"""The recogniser before everything a camera may do: odd clocks, gaps, nobody, no frames, and eight hours on end."""
import gc
import json
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from asl_nb.cli import app
from asl_nb.core.errors import InputError
from asl_nb.data.landmarks import PARTS, mirror_clip
from asl_nb.data.resampling import FrameResampler, FrameThinner, resample_clip
from asl_nb.data.synthetic import Signer, perform, synthetic_dataset, write_synthetic
from asl_nb.live.recognizer import Idle, Recognizer, SegmentationConfig, SignEnded, SignStarted
from asl_nb.live.spotter import LearnedSpotter, MotionSpotter, read_spotter
from asl_nb.live.streams import (Answer, CAMERAS, accelerations, add_detector_noise, align, count_mistakes,
                                 interpolate_transition, labelled_windows, landmark_noise_std, last_frame_with_hands,
                                 splice, sway, working_part)
from asl_nb.network.model import ASLModel
from asl_nb.network.weights import save_model
from asl_nb.training.configuration import RECIPES, TrainingConfig

SIGNS = ("hello", "thankyou", "please", "happy")
NOBODY = np.full((543, 3), np.nan, np.float32)


class Everything:
    "A spotter for which everything is one sign."
    delay = 0
    def reset(self): pass
    def __call__(self, frame): return 1.


@pytest.fixture(scope="module", params=RECIPES)
def model(request):
    torch.manual_seed(0)
    return ASLModel(None, len(SIGNS), max_len=300, **TrainingConfig(recipe=request.param).network | {"dim": 16}).eval()


@pytest.fixture(scope="module")
def clips(): return [perform(sign, Signer.random((8, number)), number) for number, sign in enumerate(SIGNS)]


@pytest.fixture(scope="module")
def signer(): return synthetic_dataset(signers=1, clips_per_sign=1, seed=31, signs=SIGNS)


def feed(recognizer, frames, seconds):
    events = [event for frame, moment in zip(frames, seconds) for event in recognizer(frame, moment)]
    return events + recognizer.finish()


def whole(model, frames, seconds, **more):
    segmentation = SegmentationConfig(min_duration=0, start_frames=1)
    return feed(Recognizer(model, SIGNS, spotter=Everything(), segmentation=segmentation, **more), frames, seconds)[-1]


def signs(events): return [event for event in events if isinstance(event, SignEnded)]


def test_a_whole_clip_has_the_offline_logits(model, clips):
    for clip in [*clips, clips[0][:1], clips[0][:2], np.repeat(NOBODY[None], 9, 0), np.tile(clips[1], (8, 1, 1))[:290]]:
        ended = whole(model, clip, np.arange(len(clip))/30)
        with torch.inference_mode(): logits = model(torch.from_numpy(clip)[None])[0]
        assert torch.equal(ended.logits, logits) and len(ended.guesses) == len(SIGNS)


def test_the_probability_is_calibrated(model, clips):
    model.temperature = 2.5
    try: ended = whole(model, clips[0], np.arange(len(clips[0]))/30)
    finally: model.temperature = 1.
    assert abs(ended.guesses[0].probability - (ended.logits/2.5).softmax(-1).max().item()) < 1e-6


@settings(max_examples=25, deadline=None)
@given(rate=st.floats(5, 120), waver=st.floats(0, .9), begin=st.floats(-1e6, 1e6), seed=st.integers(0, 99))
def test_other_rates_are_brought_to_the_rate_of_clips(rate, waver, begin, seed):
    clip, rng = perform("thankyou", Signer.random((8, 1)), missing=False), np.random.default_rng(seed)
    seconds = (np.arange(len(clip)) + waver*rng.uniform(0, 1, len(clip)))/rate
    seconds -= seconds[0]
    pace = FrameResampler()
    made = [each for frame, moment in zip(clip, seconds + begin) for each in pace(frame, moment)[0]]
    times = np.array([moment for moment, _ in made])
    assert (np.diff(times) > 0).all() and abs(len(made) - 1 - 30*seconds[-1]) <= max(2, .11*len(made))
    assert not np.isnan(np.stack([frame for _, frame in made])).any()
    if rate <= 24 and np.abs(np.diff(seconds)*30 - 1)[0] > .1:
        pulse = FrameThinner(30)
        taken = [bool(pulse(moment)) for moment in seconds]
        expected = resample_clip(clip[taken], seconds[taken])[0]
        frames = np.stack([frame for _, frame in made])
        np.testing.assert_allclose(frames[:len(expected)], expected[:len(made)], atol=1e-4)


def test_missing_parts_stay_missing_in_their_slots(model, clips):
    clip = clips[0].copy()
    clip[:, PARTS["left_hand"]] = np.nan
    recognizer = Recognizer(model, SIGNS, spotter=Everything())
    for number, frame in enumerate(clip): recognizer(frame, number/15)
    kept = recognizer.clip()
    assert len(kept) > 1.8*len(clip)
    assert np.isnan(kept[:, PARTS["left_hand"]]).all() and not np.isnan(kept[:, PARTS["pose"]]).any()


def test_a_mirrored_camera_is_mirrored_back(model, clips):
    times = np.arange(len(clips[2]))/30
    plain = whole(model, clips[2], times).logits
    mirrored = whole(model, mirror_clip(clips[2]), times, mirrored=True).logits
    torch.testing.assert_close(plain, mirrored, rtol=0, atol=1e-3)


STEPS = [0, 1/30, 1/30, 1/30, 1/15, -.01, -5., 5., 1., 1e9, -1e9]


@settings(max_examples=20, deadline=None)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=150),
       holes=st.integers(0, 2**16))
def test_any_clock_is_survived(clips, steps, holes):
    torch.manual_seed(0)
    small = ASLModel(None, len(SIGNS), dim=8, blocks=("conv",)).eval()
    segmentation, moment = SegmentationConfig(min_confidence=0), 0.
    recognizer = Recognizer(small, SIGNS, spotter=MotionSpotter(), segmentation=segmentation)
    clip = np.concatenate(clips)
    events = []
    for number, step in enumerate(steps):
        moment += step
        events += recognizer(NOBODY if holes >> (number % 16) & 1 else clip[number % len(clip)], moment)
    events += recognizer.finish()
    running = False
    for event in events:
        if isinstance(event, SignStarted): assert not running; running = True
        if isinstance(event, SignEnded): assert running and event.start <= event.seconds; running = False
    assert not running and len(recognizer.tracker.buffer.frames) == 0


def test_gaps_slowness_and_nobody(model, clips):
    clip = clips[2]
    halves = np.arange(len(clip))/30 + 5*(np.arange(len(clip)) >= len(clip)//2)
    events = feed(Recognizer(model, SIGNS, spotter=MotionSpotter()), clip, halves)
    assert [type(event) for event in events][:3] == [SignStarted, SignEnded, Idle]
    assert "no picture for 5.0 s" in events[2].why
    slow = np.concatenate(clips)[::30]
    assert not signs(feed(Recognizer(model, SIGNS), slow, np.arange(len(slow))))
    events = feed(Recognizer(model, SIGNS), [NOBODY]*30*120, np.arange(30*120)/30)
    assert [event.why for event in events] == ["nobody is in the picture"]
    still = np.repeat(np.where(np.isnan(clip[10]), .5, clip[10])[None], 900, 0)
    # a held hand is no sign, or one, never many
    assert len(signs(feed(Recognizer(model, SIGNS), still, np.arange(900)/30))) <= 1


@pytest.mark.parametrize("frame, words",
                         [(np.zeros((478, 3)), "478, 3"), (np.zeros(1662), "1662"),
                          (np.zeros((543, 2)), "543, 2"), (None, "object"),
                                          (np.full((543, 3), np.inf), "infinite"), ([["a"]*3]*543, "<U1")])
def test_what_is_no_frame_is_named(model, frame, words):
    recognizer = Recognizer(model, SIGNS)
    with pytest.raises(InputError, match=words): recognizer(frame, 0)
    recognizer(NOBODY, 0)  # and the next is taken
    for moment in (np.nan, np.inf):
        with pytest.raises(InputError, match="time of a frame"): recognizer(NOBODY, moment)


def test_too_long_is_no_sign_and_bounds_hold(model, clips):
    recognizer = Recognizer(model, SIGNS, spotter=Everything())
    events, most = [], 0
    for number in range(1200):
        events += recognizer(clips[0][number % len(clips[0])], number/30)
        most = max(most, len(recognizer.tracker.buffer.frames))
    ended = recognizer.finish()[-1]
    assert most == recognizer.tracker.buffer.frames.maxlen < 340
    assert ended.sign is None and "40.0 s is too long" in ended.why and ended.start >= 20


def test_alignment_never_pairs_what_does_not_overlap():
    rng = np.random.default_rng(0)
    for _ in range(50):
        edges = np.sort(rng.uniform(0, 20, 12)).reshape(6, 2)
        truth = [(start, stop, str(rng.integers(3))) for start, stop in edges]
        edges = np.sort(rng.uniform(0, 20, 8)).reshape(4, 2)
        answers = [Answer(start, stop, str(rng.integers(3)), stop) for start, stop in edges]
        pairs = align(truth, answers)
        assert [i for i, _ in pairs if i is not None] == list(range(6))
        assert [j for _, j in pairs if j is not None] == list(range(4))
        both = [(truth[i], answers[j]) for i, j in pairs if None not in (i, j)]
        assert all(start < answer.stop and answer.start < stop for (start, stop, _), answer in both)


def test_perfect_answers_are_no_mistakes(signer):
    stream = splice(signer, 40, np.random.default_rng(0))
    right = [Answer(span.start/30, span.stop/30, span.name, span.stop/30 + .5) for span in stream.signs]
    score = count_mistakes(stream, right)
    assert score.error == 0 and score.false_signs == 0 and np.allclose(score.delays, .5) and score.idle_seconds > 5
    nothing = count_mistakes(stream, [])
    assert nothing.error == 1 and nothing.deletions == len(stream.signs)
    asleep = count_mistakes(stream, [Answer(span.start/30, span.stop/30, "hello", 0) for span in stream.idle])
    assert asleep.false_signs == asleep.insertions == len(stream.idle)


def test_streams_hold_the_clips_and_windows_are_labelled(signer):
    stream = splice(signer, 60, np.random.default_rng(2))
    assert {span.name for span in stream.signs} == set(SIGNS)
    assert len(stream.frames) >= 1800 and np.abs(np.nan_to_num(stream.frames)).max() < 20
    for name, camera in CAMERAS.items():
        windows, labels, weights = labelled_windows(stream, camera, np.random.default_rng(1))
        share = sum(span.stop - span.start for span in stream.signs)/len(stream.frames)
        assert np.isfinite(windows).all()
        assert len(windows) == len(labels) == len(weights) and abs(labels.mean() - share) < .05, name


def test_the_learned_spotter_beats_the_rule_on_an_unseen_signer(signer):
    def right(spotter, stream):
        answers = np.array([spotter(frame) for frame in stream.frames])[spotter.delay:] > .5
        truth = np.zeros(len(stream.frames), bool)
        for span in stream.signs: truth[span.start:span.stop] = True
        return (answers == truth[:len(answers)]).mean()
    stream = splice(signer, 90, np.random.default_rng(5))
    learned, rule = right(LearnedSpotter(), stream), right(MotionSpotter(), stream)
    assert learned > .93 and learned > rule, (learned, rule)


def test_made_up_frames_tremble_like_the_clips(signer):
    "Or a spotter would tell them from recordings by their noise, as one did."
    clips = [working_part(clip) for clip in signer.clips]
    noise, rng = landmark_noise_std(clips), np.random.default_rng(0)
    held = [add_detector_noise(sway(last_frame_with_hands(clip), 60, rng), noise, rng) for clip in clips]
    assert .6 < landmark_noise_std(held)/noise < 1.6
    moving = lambda clips: np.nanmedian(np.concatenate([accelerations(clip).ravel() for clip in clips]))
    ends = [last_frame_with_hands(clip) for clip in clips]
    ways = [interpolate_transition(one, two, .4) for one, two in zip(ends, ends[1:])]
    assert moving(ways) < .5*moving(clips) < moving([add_detector_noise(way, noise, rng) for way in ways])
    nothing = np.full((5, 543, 3), np.nan, np.float32)
    assert np.isnan(add_detector_noise(nothing, noise, rng)).all() and landmark_noise_std([nothing]) > 0


def test_without_hands_there_is_no_sign(signer):
    unseen = signer.clips[0].copy()
    unseen[:, 468:489] = unseen[:, 522:] = np.nan
    spotter = LearnedSpotter()
    answers = [spotter(frame) for clip in (signer.clips[0], unseen, unseen) for frame in clip]
    assert max(answers) > .5 and max(answers[-len(unseen):]) == 0


def test_a_signer_whose_hands_are_never_seen(signer):
    blind = replace(signer, clips=[clip.copy() for clip in signer.clips])
    for clip in blind.clips: clip[:, 468:489] = clip[:, 522:] = np.nan
    with pytest.raises(InputError, match="no hand does anything"): splice(blind, 10, np.random.default_rng(0))


def test_evaluate_stream_by_command(tmp_path, signer):
    torch.manual_seed(0)
    network = ASLModel(None, len(SIGNS), dim=16, blocks=("conv",))
    network.data_kind = "synthetic"
    save_model(tmp_path/"model.pth", network, SIGNS)
    write_synthetic(tmp_path/"data", signers=1, clips_per_sign=1, seed=4, signs=[*SIGNS, "blue"], progress=False)
    words = ["evaluate-stream", str(tmp_path/"model.pth"), "--data", str(tmp_path/"data"), "--minutes", ".2"]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    table = json.loads(result.stdout)
    assert set(table) == set(CAMERAS) and all(row["signs"] > 0 and row["error"] >= 0 for row in table.values())
    refused = CliRunner().invoke(app, [*words[:3], str(tmp_path/"nowhere")])
    assert refused.exit_code == 2 and "nowhere" in refused.stderr


def test_shipped_weights_are_readable():
    assert read_spotter(LearnedSpotter.shipped())["bias2"].shape == (1,)


@pytest.mark.slow
def test_eight_hours_without_growth(signer):
    "Frames at 30 a second for eight hours, in fast motion: signs, rests, nobody, gaps."
    torch.manual_seed(0)
    network = ASLModel(None, len(SIGNS), dim=8, blocks=("conv",)).eval()
    recognizer, stream = Recognizer(network, SIGNS), splice(signer, 60, np.random.default_rng(0)).frames
    def minutes(first, last):
        for minute in range(first, last):
            for number, frame in enumerate(stream[:1750] if minute % 10 else [NOBODY]*1750):
                recognizer(frame, 60.*minute + number/30)
    def size():
        gc.collect()
        return len(gc.get_objects()), psutil.Process().memory_info().rss
    minutes(0, 20)
    objects, memory = size()
    minutes(20, 480)
    more_objects, more_memory = size()
    assert more_objects - objects < 1000 and more_memory - memory < 2e7, (more_objects - objects, more_memory - memory)
    assert len(recognizer.tracker.buffer.frames) <= recognizer.tracker.buffer.frames.maxlen
