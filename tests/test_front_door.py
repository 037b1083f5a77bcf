"""What `import asl_nb` offers, and that reading tables and predicting do not load what they do not need."""
import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_export import SIGNS, small_export, small_model

import asl_nb
from asl_nb.core.errors import InputError
from asl_nb.network.weights import save_model

HEAVY = ("torch", "numpy", "pandas", "pyarrow", "matplotlib", "pydantic", "typer", "IPython", "scipy", "torchmetrics",
         "accelerate", "onnxruntime", "joblib", "ipywidgets")


def loaded_by(code, *arguments):
    "Which of the heavy packages a fresh interpreter has loaded after some lines of code."
    question = f"{code}\nimport json, sys\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", question, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A small model, trained for one epoch."
    out = tmp_path_factory.mktemp("run")
    config = asl_nb.TrainingConfig(signs="hello,please", synthetic_signers=3, synthetic_clips=1, epochs=1, dim=32,
                                   epoch_steps=1, batch_size=4, out=out, device="cpu")
    return asl_nb.train(config, report=lambda line: None)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    "A clip in a file of its own."
    path = tmp_path_factory.mktemp("clip")/"hello.parquet"
    asl_nb.write_clip(path, asl_nb.synthetic_dataset(signers=1, clips_per_sign=1, signs=("hello",)).clips[0])
    return path


@pytest.fixture(scope="module")
def both_kinds(tmp_path_factory):
    "One model as a file of a training run, and exported."
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="needs python setup_venv.py dev export", exc_type=ImportError)
    folder = tmp_path_factory.mktemp("exported")
    save_model(folder/"model.pth", small_model(), SIGNS)
    (folder/"model.onnx").write_bytes(small_export())
    return folder/"model.pth", folder/"model.onnx"


def test_import_loads_nothing_else():
    assert loaded_by("import asl_nb; asl_nb.__version__; dir(asl_nb)") == set()


@pytest.mark.parametrize("name", asl_nb.__all__)
def test_every_name_is_there_and_explained(name):
    value = getattr(asl_nb, name)
    assert value.__name__ == name and value.__doc__ and value.__module__ == f"asl_nb.{asl_nb._HOME[name]}"
    assert name in dir(asl_nb)


def test_no_name_is_also_a_module():
    here = Path(asl_nb.__file__).parent
    modules = {path.stem for path in here.iterdir() if path.suffix == ".py" or (path/"__init__.py").exists()}
    assert modules & set(asl_nb.__all__) == set()


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(asl_nb.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == asl_nb._HOME


def test_another_name_is_refused_with_those_there_are():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'; it offers InputError, read_clip"):
        asl_nb.nonsense  # noqa: B018
    with pytest.raises(ImportError, match="nonsense"):
        from asl_nb import nonsense  # noqa: F401


def test_submodules_can_still_be_imported_from_the_package():
    assert loaded_by("from asl_nb import core; from asl_nb.core import errors; import asl_nb.core.errors") == set()


def test_a_configuration_needs_no_torch():
    light = loaded_by("import asl_nb; asl_nb.TrainingConfig.guide(epochs=3)")
    assert light <= {"numpy", "pandas", "pyarrow", "pydantic"}


def test_reading_manifests_needs_neither_torch_nor_matplotlib(run):
    code = "import sys; from asl_nb.training.runs import find_runs, runs_table; runs_table(find_runs(sys.argv[1])[0])"
    assert loaded_by(code, Path(run.files.weights).parent) <= {"numpy", "pandas", "pyarrow", "pydantic"}


def test_inspecting_a_table_needs_neither_torch_nor_matplotlib(tmp_path):
    from asl_nb.data.synthetic import write_synthetic
    folder = write_synthetic(tmp_path/"clips", signers=2, clips_per_sign=1, signs=("hello", "please"))
    code = "import sys, asl_nb; print(asl_nb.inspect_dataset(sys.argv[1], table_only=True).describe())"
    assert loaded_by(code, folder) <= {"numpy", "pandas", "pyarrow", "pydantic"}


PREDICT = "import sys, asl_nb; print(asl_nb.predict(sys.argv[2], sys.argv[1])[0])"


def test_predicting_with_an_exported_model_needs_no_torch(both_kinds, clip):
    assert loaded_by(PREDICT, both_kinds[1], clip) <= {"numpy", "pyarrow", "pydantic", "onnx", "onnxruntime"}


def test_predicting_with_a_trained_model_needs_torch_and_little_else(run, clip):
    assert loaded_by(PREDICT, run.files.weights, clip) <= {"torch", "numpy", "pyarrow", "pydantic"}


def test_both_kinds_of_file_predict_the_same(both_kinds, clip):
    trained, other = asl_nb.predict([clip], both_kinds[0])[0], asl_nb.predict(clip, both_kinds[1])
    assert [guess.sign for guess in trained] == [guess.sign for guess in other]
    assert [guess.probability for guess in trained] == pytest.approx([guess.probability for guess in other], abs=1e-4)
    assert sum(guess.probability for guess in trained) == pytest.approx(1)


def test_without_a_model_the_one_in_the_box_answers_and_says_so(clip):
    told = subprocess.run([sys.executable, "-m", "asl_nb", "predict", clip, "--json"], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert told.stderr.splitlines() == ["model: asl_webcam_v1, which comes with the program"]
    guesses = asl_nb.predict(clip)
    assert [each["sign"] for each in json.loads(told.stdout)["guesses"]] == [each.sign for each in guesses]


def test_predict_without_a_clip_is_refused_in_one_line():
    for named in ([], ["model.pth"]):
        told = subprocess.run([sys.executable, "-m", "asl_nb", "predict", *named], capture_output=True, text=True)
        assert told.returncode == 2 and told.stderr.splitlines()[-1].startswith("asl-nb: predict: no clip is named")


def test_a_clip_without_hands_or_without_anybody_is_told(clip, tmp_path):
    from asl_nb.data.clips import read_clip, write_clip
    from asl_nb.data.landmarks import PARTS
    whole = read_clip(clip)
    handless, zeros = whole.copy(), whole.copy()
    for hand in ("left_hand", "right_hand"): handless[:, PARTS[hand]] = np.nan
    zeros[np.isnan(zeros)] = 0
    for name, values in {"nobody": np.full_like(whole, np.nan), "black": np.zeros_like(whole), "handless": handless,
                         "zeros": zeros, "whole": whole}.items(): write_clip(tmp_path/f"{name}.parquet", values)
    names = [str(tmp_path/f"{name}.parquet") for name in ("nobody", "black", "handless", "zeros", "whole")]
    for told in (subprocess.run([sys.executable, "-m", "asl_nb", "predict", *names, *as_json], capture_output=True,
                                text=True) for as_json in ([], ["--json"])):
        assert told.returncode == 2 and len(told.stdout.splitlines()) == 3
        lines = told.stderr.splitlines()[1:] # after the name of the model
        assert [line.split("/")[-1] for line in lines[:3]] == [
            "nobody.parquet: nobody is seen in it; look at it, or record it again",
            "black.parquet: nobody is seen in it; look at it, or record it again",
            "handless.parquet: no hand is seen in any of its frames"]
        assert lines[3].endswith("frames, and read as not seen") and len(lines) == 4
    answers = list(map(json.loads, told.stdout.splitlines()))
    assert answers[1]["guesses"] == answers[2]["guesses"] and answers[2]["notes"] == []
    assert answers[0]["notes"] == ["no hand is seen in any of its frames"]
    for nobody in (names[0], np.full_like(whole, np.nan), np.zeros_like(whole)):
        with pytest.raises(InputError, match="nobody is seen"): asl_nb.predict(nobody)
    with pytest.warns(UserWarning, match="the clip: no hand is seen in any of its frames"): asl_nb.predict(handless)
    assert asl_nb.predict(zeros) == asl_nb.predict(whole)
