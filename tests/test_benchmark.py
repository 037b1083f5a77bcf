"""The benchmark: both sides of every ratio compute the same, and every row is there. Speed is never asserted."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asl_nb import benchmark
from asl_nb.benchmark import (Benchmark, LATENCY_FRAMES, Row, Workbench, computed_frames, git, measure_against,
                              measure_onnx, precision_switch, run_benchmark, take_turns, training_products,
                              unpack_revision, use_threads)
from asl_nb.core.errors import InputError
from asl_nb.data.clips import read_clip, write_clip
from asl_nb.data.landmarks import NOSE_TIP, PARTS, POSE
from asl_nb.data.synthetic import write_synthetic
from asl_nb.network.model import ASLModel, count_parameters
from asl_nb.network.preprocessing import PreprocessingLayer
from asl_nb.references import (PlainModel, copy_weights, make_up_clip, miniature_lengths, pad, plain_features,
                               read_bare, read_by_rows, typical_lengths)


@settings(max_examples=10, deadline=None)
@given(frames=st.integers(1, 4), seed=st.integers(0, 99))
def test_all_readers_read_the_same(frames, seed):
    clip = make_up_clip(frames, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "clip.parquet")
        write_clip(path, clip, first_frame=seed)
        for read in (read_clip, read_by_rows, read_bare): np.testing.assert_array_equal(read(path), clip)


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(1, 7), seed=st.integers(0, 99),
       lost=st.sets(st.sampled_from(["face", "pose", "nose", "shoulders", "frames"])))
def test_plain_features_are_the_features(frames, seed, lost):
    clip = make_up_clip(frames, seed)
    if "face" in lost: clip[:, PARTS["face"]] = np.nan
    if "pose" in lost: clip[:, PARTS["pose"]] = np.nan
    if "nose" in lost: clip[:, [NOSE_TIP, POSE["nose"]]] = np.nan
    if "shoulders" in lost: clip[:, [POSE["left_shoulder"], POSE["right_shoulder"]]] = np.nan
    if "frames" in lost: clip[np.random.default_rng(seed).random(frames) < .4] = np.nan
    ours, _ = PreprocessingLayer()(torch.from_numpy(clip)[None])
    torch.testing.assert_close(torch.from_numpy(plain_features(clip)), ours[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("classes", [25, 250])
def test_plain_model_is_the_model_without_masks(classes):
    torch.manual_seed(classes)
    model, plain = ASLModel(num_classes=classes, max_len=64), PlainModel(num_classes=classes, max_len=64)
    assert abs(count_parameters(plain)/count_parameters(model) - 1) < .01
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm1d):
                part.running_mean.normal_(std=.1), part.running_var.uniform_(.5, 2)
    copy_weights(model, plain)
    block = pad([make_up_clip(64, seed) for seed in range(3)], 64)
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(block), plain.eval()(block), atol=1e-4, rtol=1e-4)
    model.zero_grad(), plain.zero_grad()
    for each in (model, plain): each(block).square().mean().backward()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-3)


def test_lengths_are_those_of_asl_signs():
    lengths = typical_lengths()
    assert len(lengths) == 94_477 and lengths.min() >= 1 and lengths.max() <= 500
    assert np.median(lengths) == 22 and abs(lengths.mean() - 38) < 2 and abs(np.percentile(lengths, 95) - 135) < 15
    np.testing.assert_array_equal(typical_lengths(50, seed=3), typical_lengths(50, seed=3))
    for clips, batch in ((8, 4), (48, 24), (192, 32), (100, 32)):
        few = miniature_lengths(clips, batch)
        assert len(few) == clips and (np.diff(few) >= 0).all() and abs(few.mean() - lengths.mean()) < 4


def test_turns_are_taken():
    calls = []
    turns = take_turns({name: lambda name=name: calls.append(name) for name in "ab"}, seconds=10, least=2, most=3)
    assert calls == ["a", "b"]*4 and all(len(timing.seconds) == 3 for timing in turns.values())
    assert len(take_turns({"a": lambda: None}, seconds=0, least=5)["a"].seconds) == 5


def test_switches_are_put_back():
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    with pytest.raises(KeyError), use_threads(1), precision_switch("tf32"): raise KeyError
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (threads, precision)


def test_products_are_counted(tmp_path):
    bench = Workbench(tmp_path, clips=8, seconds=.01, quick=True)
    batch = next(bench.batches())
    products = training_products(bench.model, batch)
    (clips, frames), rows = batch.landmarks.shape[:2], int(batch.lengths.sum())  # padding is not multiplied
    forward = {size: times for size, times in products.items() if size[2:] == (744, 192)}
    assert forward == {(1, rows, 744, 192): 1} and products[1, rows, 192, 744] == 0
    assert products[clips*8, frames, 24, frames] >= 2 and all(times > 0 for size,
                                                              times in products.items() if products[size])
    assert not any(part._forward_hooks for part in bench.model.modules())


def test_computed_frames():
    assert computed_frames(np.array([5, 5, 5]), [[0, 1], [2]]) == 1
    assert computed_frames(np.array([1, 9]), [[0, 1]]) == 1.8


@pytest.fixture(scope="module")
def tiny():
    "Everything there is to measure, as fast as it goes."
    lines, left = [], set(os.listdir(tempfile.gettempdir()))
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    result = run_benchmark(clips=8, seconds_per_row=.01, quick=True, report=lines.append)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    assert not [name for name in set(os.listdir(tempfile.gettempdir())) - left if name.startswith("asl_nb_bench_")]
    assert len(lines) == len(result.rows)
    return result


def test_rows_are_there_and_make_sense(tiny):
    names = [row.name for row in tiny.rows]
    for expected in ("reading a clip", "reading, checked", "an epoch's data", "packing", "preprocessing", "training",
                     "validation",
                     "training, real frames", "share of matrix products", "latency, 64 frames, 1 thread",
                     "memory, 20,000 clips", "GPU"):
        assert expected in names
    assert sum(name.startswith("padding") for name in names) == 2 and len(set(names)) == len(names)
    assert all({f"latency, {frames} frames, 1 thread"} <= set(names) for frames in (16, 32, 64, 128, 384))
    for row in tiny.rows:
        if row.skipped: assert row.ours is None and row.ratio is None
        elif row.name.startswith("GPU memory"): assert row.ours > 0
        else: assert np.isfinite(row.ratio) and row.ratio > 0 and row.unit and row.compared_with, row
        if row.name.startswith("latency"): assert row.details["p95"] >= row.ours
    assert tiny["training"].details["our parameters"] == tiny["training"].details["theirs"]


def test_three_ways_of_showing_agree(tiny):
    loaded = json.loads(json.dumps(tiny.as_dict()))
    assert [row["name"] for row in loaded["rows"]] == [row.name
                                                       for row in tiny.rows] == tiny.table().measurement.tolist()
    assert [row["ratio"] for row in loaded["rows"]] == [row.ratio for row in tiny.rows]
    text = tiny.text()
    assert all(row.name in text
               for row in tiny.rows) and tiny.machine["processor"] in text and tiny.versions["torch"] in text
    assert {"machine", "versions", "date", "seconds", "quick"} <= set(loaded)


def test_ratio_is_our_advantage():
    assert Row("a", "clips/s", ours=10., reference=2.).ratio == 5 and Row("a", "ms", ours=2., reference=10.,
                                                                          less_is_better=True).ratio == 5
    assert Row("a", skipped="why").ratio is None and Row("a", ours=1.).ratio is None
    table = Benchmark([Row("a", skipped="why")], {}, {}, "today", 1., True).table()
    assert table.also[0] == "skipped: why" and table.ratio[0] == ""


@pytest.mark.parametrize("arguments, field",
                         [(dict(clips=0), "clips"), (dict(clips=-3), "clips"),
                          (dict(seconds_per_row=0), "seconds_per_row"),
                                              (dict(seconds_per_row=float("nan")), "seconds_per_row")])
def test_bad_input_names_the_field(arguments, field):
    with pytest.raises(InputError, match=f"^{field}: must be"): run_benchmark(**arguments)


@pytest.mark.slow
def test_memory_is_flat(tmp_path):
    (row,) = benchmark.measure_memory(Workbench(tmp_path, clips=8, seconds=.01))
    assert row.details["MB more"] < 200


def test_onnx_runtime_has_rows(tmp_path, monkeypatch):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="needs python setup_venv.py dev export", exc_type=ImportError)
    bench = Workbench(tmp_path, clips=8, seconds=.01, quick=True)
    bench.model = ASLModel(num_classes=3, dim=16, blocks=("conv",))  # sooner exported
    rows = measure_onnx(bench)
    assert [row.name for row in rows] == [f"latency in ONNX Runtime, {frames} frames, 1 thread"
                                          for frames in LATENCY_FRAMES]
    assert all(row.ours > 0 and row.reference > 0 for row in rows)
    monkeypatch.setattr("asl_nb.export.find_spec", lambda name: None)  # as if nothing were installed
    assert measure_onnx(None)[0].skipped == "needs python setup_venv.py dev export"


ROOT = Path(__file__).resolve().parents[1]
in_a_clone = pytest.mark.skipif(not (ROOT/".git").exists(), reason="this is no clone of the repository")


@in_a_clone
def test_an_earlier_revision_is_measured_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path/"temporary"))
    Path(tempfile.gettempdir()).mkdir()
    data = write_synthetic(tmp_path/"data", signers=4, clips_per_sign=2, signs=("hello", "please"), progress=False)
    before = git("worktree", "list")
    told = []
    table = measure_against("HEAD", str(data), repeats=1, recipes=("best",), onnx=False, report=told.append)
    assert len(told) == 1 and told[0].startswith("best: both builds prepare")
    assert [*table.index] == ["a training step, best", "evaluating a clip, best", "a clip in PyTorch, best"]
    assert (table > 0).all(axis=None)
    np.testing.assert_allclose(table["times as fast"], table["ms then"]/table["ms now"])
    assert git("worktree", "list") == before and not os.listdir(tempfile.gettempdir())


@in_a_clone
def test_told_to_end_it_leaves_nothing(tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "asl_nb", "bench", "--against", "HEAD"], cwd=ROOT,
                               env=os.environ | {"TMPDIR": str(tmp_path)}, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("asl_nb_bench_*/now_*")):  # the builds begin
        assert process.poll() is None
        time.sleep(.05)
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM and not os.listdir(tmp_path)


@in_a_clone
def test_what_cannot_be_measured_is_one_clear_line(tmp_path):
    for wrong in ("no such revision", "--help", "", "HEAD:README.md"):
        with pytest.raises(InputError, match="is no revision of this clone"): unpack_revision(wrong, tmp_path)
    with pytest.raises(InputError, match="then cannot be measured .*nowhere: no such folder"):
        measure_against("HEAD", str(tmp_path/"nowhere"), onnx=False)


def test_without_a_clone_there_is_one_clear_line(tmp_path):
    shutil.copytree(ROOT/"asl_nb", tmp_path/"asl_nb", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run([sys.executable, "-m", "asl_nb", "bench", "--against", "HEAD"], cwd=tmp_path, text=True,
                          env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True)
    assert done.returncode and done.stderr.count("\n") == 1 and "not installed from a clone" in done.stderr
