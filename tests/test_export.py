"""Exported models: every recipe can be exported, and the file answers like the model whatever the clip.

What is wrong with a file is said in one line."""
import json
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_export import lived_in, small_export, small_model
from test_program import SMALL, asl_nb, one_clip, recordings, refused  # noqa: F401 (recordings is a fixture)

from asl_nb.core.errors import InputError
from asl_nb.data.batches import collate_clips
from asl_nb.data.landmarks import ASPECT, PARTS, change_aspect
from asl_nb.data.synthetic import Signer, perform
from asl_nb.network.choices import FEATURES
from asl_nb.network.model import ASLModel
from asl_nb.training.configuration import RECIPES, TrainingConfig

for name in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(name, reason="needs python setup_venv.py dev export", exc_type=ImportError)

import onnx  # noqa: E402 (after the skips)

from asl_nb.export import (LOGIT_BOUND, compare, describe_export, edge_case_clips, export_onnx, load_onnx, open_model,
                           run_in_openvino, run_in_reference, to_int8, trial_recordings, write_onnx)

VENDOR = Path(__file__).resolve().parents[1]/"docs/demo/vendor"
DATA = Path(__file__).resolve().parents[2]/"shared/data/webcam_asl"
SIGNS = ("hello", "thankyou", "please", "happy", "drink")


NETWORKS = {name: TrainingConfig(recipe=name).network for name in RECIPES}
NETWORKS["everything"] = NETWORKS["guide"] | dict(points="many", features=tuple(FEATURES), centre="shoulders",
                                                  dominant_hand=True, longest_gap=4, drop_handless=True,
                                                  drop_doubled=True, hand_size="bones", frame_pooling=3, conv_blocks=1,
                                                  lstm_layers=1,
                                                  dilations=(2,), tcn_dropouts=(.2,))  # the guide has several of each


@cache
def exported_pair(name, folder):
    "A model and the file made from it, once for all tests."
    model = lived_in(ASLModel(None, len(SIGNS), max_len=60, **NETWORKS[name] | {"dim": 16}))
    path = folder/f"{name}.onnx"
    done = export_onnx(model, SIGNS, path, progress=False)
    assert done.parity.logits <= LOGIT_BOUND and done.parity.agreement == 1
    return model, load_onnx(path, threads=1), path


@pytest.fixture(scope="session")
def folder_of_pairs(tmp_path_factory): return tmp_path_factory.mktemp("onnx")


@pytest.fixture(scope="module", params=NETWORKS)
def pair(request, folder_of_pairs): return exported_pair(request.param, folder_of_pairs)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.one_of(st.integers(1, 90), st.integers(91, 384)), min_size=1, max_size=3),
       seed=st.integers(0, 999),
       missing=st.sets(st.sampled_from([*PARTS, "some points", "some frames", "first frame", "doubled"])),
       left=st.booleans())
def test_the_file_answers_like_the_model(pair, lengths, seed, missing, left):
    model, exported, _ = pair
    rng = np.random.default_rng(seed)
    clips = rng.uniform(.2, .8, (len(lengths), 1, 543, 3))
    clips = clips + .05*rng.standard_normal((len(lengths), max(lengths), 543, 3))
    clips[:, rng.random(max(lengths)) < .3, PARTS["right_hand" if left else "left_hand"]] = np.nan
    if "doubled" in missing: clips[:, ::3, PARTS["left_hand"]] = clips[:, ::3, PARTS["right_hand"]] + .002
    for part in missing & set(PARTS): clips[:, :, PARTS[part]] = np.nan
    if "some points" in missing: clips[rng.random(clips.shape[:3]) < .4] = np.nan
    if "some frames" in missing: clips[rng.random(clips.shape[:2]) < .4] = np.nan
    if "first frame" in missing: clips[:, 0] = np.nan
    for clip, length in zip(clips, lengths): clip[length:] = 7.  # padding is never data, not even when it is no NaN
    landmarks, lengths = torch.from_numpy(clips.astype(np.float32)), torch.tensor(lengths)
    with torch.inference_mode():
        torch.testing.assert_close(exported(landmarks, lengths), model(landmarks, lengths), atol=LOGIT_BOUND, rtol=0)
        found = exported.session.run(["embeddings"], {"landmarks": landmarks.numpy(), "lengths": lengths.numpy()})[0]
        embeddings = model.classifier.embed(*model.encode(landmarks, lengths))
        torch.testing.assert_close(torch.from_numpy(found), embeddings, atol=LOGIT_BOUND, rtol=0)


@pytest.mark.parametrize("aspect", [16/9, 1, 3/4, 9/16, 4/3])
def test_the_file_is_told_the_shape_of_the_images_or_takes_them_as_4_to_3(pair, aspect):
    _, exported, path = pair
    clip = perform("hello", Signer.random(4), 4)
    inputs = {"landmarks": change_aspect(clip, ASPECT, aspect)[None], "lengths": np.array([len(clip)])}
    right, session = exported(torch.from_numpy(clip)[None]).numpy(), exported.session
    assert [each.name for each in session.get_inputs()] == ["landmarks", "lengths"]  # what a program must give
    told = session.run(["logits"], inputs | {"aspect": np.array(aspect, np.float32)})[0]
    np.testing.assert_allclose(told, right, atol=2e-3)
    if aspect != 4/3: assert np.abs(session.run(["logits"], inputs)[0] - right).max() > 5*np.abs(told - right).max()
    else: np.testing.assert_array_equal(told, session.run(["logits"], inputs)[0])


def test_the_axes_of_clips_and_frames_are_dynamic(pair):
    sizes = {each.name: each.shape for each in pair[1].session.get_inputs()}
    dynamic = [*sizes["landmarks"][:2], *sizes["lengths"]]
    assert sizes["landmarks"][2:] == [543, 3] and all(isinstance(size, str) for size in dynamic)


def test_eight_bits(pair, tmp_path):
    model, _, path = pair
    metadata = describe_export(model, SIGNS, None, "int8")
    done = write_onnx(to_int8(onnx.load(path)), model, metadata, tmp_path/"int8.onnx", progress=False)
    assert done.size < path.stat().st_size and load_onnx(done.path).metadata["quantized"] == "int8"
    assert 0 < done.parity.logits and done.parity.probability < .15


@pytest.mark.skipif(not DATA.exists(), reason="real recordings are not here")
def test_real_recordings_are_compared(pair):
    model, exported, _ = pair
    clips = trial_recordings(model, DATA, count=12)
    assert len(clips) == 12 and all(np.isnan(clip).any() for clip in clips)
    parity = compare(model, exported, clips, progress=False)
    assert parity.fault(None) is None and parity.clips >= 2*len(clips)


def run_in_node(path, folder, clips):
    "Logits of ONNX Runtime Web's build for the processor, without a browser."
    if not (VENDOR/"ort.wasm.min.mjs").is_file():
        pytest.skip("onnxruntime-web is not there; run sh docs/vendor_demo.sh")
    if not shutil.which("node"): pytest.skip("no node on this machine")
    np.concatenate([clip.ravel() for clip in clips]).astype("<f4").tofile(folder/"clips")
    script = folder/"run.mjs"
    script.write_text("""
        import fs from "node:fs";
        const [vendor, model, clips, ...lengths] = process.argv.slice(2);
        const ort = await import(`${vendor}/ort.wasm.min.mjs`);
        ort.env.wasm.numThreads = 1;
        ort.env.wasm.wasmBinary = fs.readFileSync(`${vendor}/ort-wasm-simd-threaded.wasm`);
        const content = new Uint8Array(fs.readFileSync(model));
        const session = await ort.InferenceSession.create(content, {logSeverityLevel: 3});
        const values = new Float32Array(new Uint8Array(fs.readFileSync(clips)).buffer), answers = [];
        let start = 0;
        for (const frames of lengths.map(Number)) {
          const landmarks = values.slice(start, start += frames*543*3);
          const inputs = {landmarks: new ort.Tensor("float32", landmarks, [1, frames, 543, 3]),
                          lengths: new ort.Tensor("int64", [BigInt(frames)], [1])};
          answers.push([...(await session.run(inputs)).logits.data]);
        }
        console.log(JSON.stringify(answers));""")
    call = ["node", script, VENDOR, path, folder/"clips", *[str(len(clip)) for clip in clips]]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout))


@pytest.mark.parametrize("runtime", ["reference evaluator", "OpenVINO", "wasm"])
def test_other_programs_answer_like_the_model(pair, tmp_path, runtime):
    "What was not seen is decided once, so that programs which lose a NaN in a maximum are right as well."
    model, _, path = pair
    clips = edge_case_clips() + (trial_recordings(model, DATA, count=8) if DATA.exists() else [])
    if runtime == "OpenVINO" and not find_spec("openvino"): pytest.skip("needs pip install openvino")
    if runtime == "wasm": logits = run_in_node(path, tmp_path, clips)
    else:
        run = {"reference evaluator": run_in_reference, "OpenVINO": run_in_openvino}[runtime](path.read_bytes())
        logits = np.concatenate([run(landmarks=clip[None], lengths=np.array([len(clip)])) for clip in clips])
    with torch.inference_mode(): ours = torch.cat([model(torch.from_numpy(clip)[None]) for clip in clips])
    np.testing.assert_allclose(logits, ours, atol=LOGIT_BOUND, rtol=0)


def test_an_eight_bit_file_answers_a_clip_alike_alone_and_in_a_batch(small, tmp_path):
    metadata = {each.key: each.value for each in onnx.load(small).metadata_props} | {"quantized": "int8"}
    onnx.save(to_int8(onnx.load(small)), tmp_path/"int8.onnx")
    exported = load_onnx(changed(tmp_path/"int8.onnx", tmp_path/"int8.onnx", **metadata), threads=1)
    batch = collate_clips([(clip, 0) for clip in (*edge_case_clips(), 5*edge_case_clips()[0])])
    together = exported(batch.landmarks, batch.lengths)
    alone = torch.cat([exported(clip[None, :length]) for clip, length in zip(batch.landmarks, batch.lengths)])
    torch.testing.assert_close(together, alone, atol=0, rtol=0)
    assert (alone - load_onnx(small)(batch.landmarks, batch.lengths)).abs().max() > 0


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    "A small file to break."
    path = tmp_path_factory.mktemp("small")/"model.onnx"
    path.write_bytes(small_export())
    return path


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0, .9999))
def test_a_file_cut_short_is_named(small, tmp_path_factory, share):
    broken = tmp_path_factory.mktemp("cut")/"cut.onnx"
    broken.write_bytes(small.read_bytes()[:int(share*small.stat().st_size)])
    with pytest.raises(InputError, match=r"cut\.onnx: .*(truncated|not of asl_nb|export the model again)"):
        load_onnx(broken)


def changed(small, out, **metadata):
    "The file with other metadata; None takes an entry away."
    graph = onnx.load(small)
    kept = {each.key: each.value for each in graph.metadata_props} | metadata
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {key: value for key, value in kept.items() if value is not None})
    onnx.save(graph, out)
    return out


@pytest.mark.parametrize("metadata, message", [
    ({"format": "asl_nb onnx 2"}, "format is 'asl_nb onnx 2'"), ({"format": None}, "not of asl_nb"),
    ({"landmark_count": "478"}, "other landmarks"),
    ({"temperature": "nan"}, "field temperature: received 'nan'"),
    ({"temperature": None}, "field temperature is missing"),
    ({"classes": "[]"}, "field classes: .* at least 2"),
    ({"classes": '["a", "a"]'}, "field classes: .* different names"),
    ({"classes": '["a", "b"]'}, "contradicts the graph"), ({"classes": "{"}, "field classes: .*JSON"),
    ({"max_len": "0"}, "field max_len: received '0'")])
def test_other_metadata_is_refused(small, tmp_path, metadata, message):
    with pytest.raises(InputError, match=message): load_onnx(changed(small, tmp_path/"other.onnx", **metadata))


def test_a_graph_for_other_landmarks_is_refused(small, tmp_path):
    graph = onnx.load(small)
    graph.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 478
    onnx.save(graph, tmp_path/"tasks.onnx")
    with pytest.raises(InputError, match=r"tasks\.onnx: .*(other landmarks|not a readable ONNX file)"):
        load_onnx(tmp_path/"tasks.onnx")


def test_other_files_are_named(small, tmp_path):
    (tmp_path/"text.onnx").write_text("this is no model")
    (tmp_path/"empty.onnx").touch()
    shutil.copy(small, tmp_path/"model.pth")
    for path, message in ((tmp_path/"text.onnx", "not a readable ONNX"),
                          (tmp_path/"empty.onnx", "empty|not a readable ONNX|not of asl_nb"),
                          (tmp_path/"none.onnx", "no such file"),
                          (tmp_path, "is a folder"), (tmp_path/"model.pth", "not a readable asl_nb model")):
        with pytest.raises(InputError, match=message): (load_onnx if path.suffix != ".pth" else open_model)(path)


def test_a_wrong_graph_is_not_written(small, tmp_path):
    "What stood at the place stays there."
    model, graph = small_model(), onnx.load(small)
    metadata = describe_export(model, load_onnx(small).classes, None, None)
    model.classifier.output.weight.data.mul_(1.001)
    (tmp_path/"model.onnx").write_text("before")
    with pytest.raises(InputError, match=r"model\.onnx: not written, .* logits differ by"):
        write_onnx(graph, model, metadata, tmp_path/"model.onnx", progress=False)
    assert (tmp_path/"model.onnx").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_the_whole_way_on_the_command_line(recordings, tmp_path):  # noqa: F811 (the fixture)
    asl_nb("train", "--data", recordings, "--test-participants", "synthetic02", "--out", tmp_path, *SMALL)
    weights = next(tmp_path.glob("*.pth"))
    told = asl_nb("export", weights, "--format", "onnx", "--data", recordings)
    path = weights.with_suffix(".onnx")
    assert told.stdout.startswith(f"{path}: ") and "same first guess in 100%" in told.stdout
    assert "proved in ONNX Runtime " in told.stdout and ", reference evaluator of onnx " in told.stdout
    assert "synthetic signers" in told.stderr
    exported = load_onnx(path)
    assert (exported.manifest_id, exported.data_kind) == (weights.stem, "synthetic")
    assert exported.settings["max_len"] == 384
    clip = one_clip(recordings)
    ours, theirs = [json.loads(asl_nb("predict", model, clip, "--json").stdout)["guesses"] for model in (weights, path)]
    assert [guess["sign"] for guess in ours] == [guess["sign"] for guess in theirs]
    np.testing.assert_allclose([guess["probability"] for guess in ours], [guess["probability"] for guess in theirs],
                               atol=1e-4)
    scores = [json.loads(asl_nb("evaluate", model, "--data", recordings, "--participants", "synthetic02",
                                "--json").stdout) for model in (weights, path)]
    assert scores[0] == scores[1]
    refused(asl_nb("export", path, check=False), path, ".pth")
    for option, value, known in (("--format", "tflite", "onnx"), ("--quantize", "int4", "int8")):
        told = asl_nb("export", weights, option, value, check=False)
        assert told.exit_code == 2 and known in told.stderr and "Traceback" not in told.stderr
    refused(asl_nb("export", weights, "--data", tmp_path/"nowhere", check=False), "nowhere")
    refused(asl_nb("export", tmp_path/"none.pth", check=False), "none.pth")
    refused(asl_nb("explain", path, clip, "--out", tmp_path/"why.png", check=False), path, ".pth")
    asl_nb("explain", weights, clip, "--out", tmp_path/"why.png")
    assert (tmp_path/"why.png").read_bytes().startswith(b"\x89PNG")
    refused(asl_nb("explain", weights, clip, "--out", tmp_path/"why.png", "--sign", "helo", check=False),
            "did you mean hello?")
    refused(asl_nb("explain", weights, recordings/"train.csv", "--out", tmp_path/"why.png", check=False), "train.csv")
