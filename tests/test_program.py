"""The whole program, as a person runs it: commands, the files they leave, messages when something is wrong."""
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from asl_nb.benchmark import write_keypoint_folders
from asl_nb.cli import app
from asl_nb.training.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["--dim", "32", "--epochs", "2", "--epoch-steps", "1", "--batch-size", "16"]


def asl_nb(*words, check=True, env=None):
    "Run a command as it is typed, in this process, which has loaded the libraries."
    result = CliRunner().invoke(app, [str(word) for word in words], env=env)
    if result.exception and not isinstance(result.exception, SystemExit): raise result.exception
    if check: assert result.exit_code == 0, result.stderr
    return result


def finished(*command, cwd=None, env=None):
    "What a process came to, by the names that `asl_nb` has for it."
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **(env or {})})
    return SimpleNamespace(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def in_a_process(*words, **place):
    "Run a command in a process of its own."
    result = finished(sys.executable, "-m", "asl_nb", *map(str, words), **place)
    assert result.exit_code == 0, result.stderr
    return result


def refused(result, *words):
    "The one clear line on the error stream, and exit code 2."
    assert result.exit_code == 2, result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("asl-nb: "), line
    for word in words: assert str(word) in line, line
    return line


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    "A folder of synthetic clips, five signers."
    folder = tmp_path_factory.mktemp("data")/"recordings with a space, é"
    in_a_process("synthesize", folder, "--signers", 5, "--clips-per-sign", 1, "--seed", 3)
    return folder


@pytest.fixture(scope="session")
def trained(recordings, tmp_path_factory):
    "The output folder of a short training run."
    out = tmp_path_factory.mktemp("models")
    people = ["--test-participants", "synthetic02", "--validation-share", "0.3"]
    in_a_process("train", "--data", recordings, *people, "--out", out, *SMALL)
    return out


@pytest.fixture
def copy(recordings, tmp_path):
    "A copy of the recordings that a test may break."
    return Path(shutil.copytree(recordings, tmp_path/"copy"))


def one_clip(folder): return sorted(folder.rglob("*.parquet"))[0]


def test_one_persons_own_signs_from_recordings_to_a_score(tmp_path):
    "Two signs that no dictionary has, made by one person: every command says whose score it is."
    write_keypoint_folders(tmp_path/"takes", 20, frames=6)
    (tmp_path/"takes"/"sign0").rename(tmp_path/"takes"/"guten Morgen")
    (tmp_path/"takes"/"sign1").rename(tmp_path/"takes"/"чай")
    mine = tmp_path/"mine"
    assert "20 new clips" in asl_nb("extract", tmp_path/"takes", "--out", mine, "--participant", "me").stdout
    assert "me alone, and its score says nothing about other people" in asl_nb("inspect", mine).stdout
    planned = asl_nb("prepare", "--source", mine, "--out", tmp_path/"plan", "--signs", "all", "--table-only").stdout
    assert "not there: 0" not in planned
    assert "no clip was read and no training folder made" in planned
    prepared = asl_nb("prepare", "--source", mine, "--out", tmp_path/"split", "--signs", "all").stdout
    assert "train: 16 clips by me" in prepared and "test: 4 clips by me" in prepared
    trained = asl_nb("train", "--data", tmp_path/"split", "--out", tmp_path/"models", *SMALL).stdout
    assert "accuracy on new clips of me, who made all of them" in trained
    assert "this score is for me and says nothing about other people" in trained and "unseen" not in trained
    scored = asl_nb("evaluate", next((tmp_path/"models").glob("*.pth")), "--data", tmp_path/"split", "--json")
    scores = json.loads(scored.stdout)
    assert scores["clips"] == 4 and set(scores["per_sign"]) == {"guten Morgen", "чай"}
    assert "this model was trained on me" in scored.stderr
    assert "20 clips removed" in asl_nb("remove", mine, "--participant", "me", "--yes").stdout
    assert not list(mine.rglob("*.parquet"))


def test_training_leaves_four_files_that_agree(trained):
    manifest = read_manifest(next(trained.glob("*_final_manifest.json")))
    name = manifest.name
    assert sorted(path.name for path in trained.iterdir()) == sorted(
        [f"{name}.pth", f"{name}_manifest.json", f"{name}_final_manifest.json", "training_history.png"])
    people = manifest.reproduction.participants
    assert people["test"] == ["synthetic02"] and len(people["validation"]) == 1 and len(people["train"]) == 3
    assert len({name for part in people.values() for name in part}) == 5
    history = manifest.training_history
    assert len(history.val_losses) == 2 and all(map(math.isfinite, history.val_losses))
    best = history.val_accuracies.index(max(history.val_accuracies)) + 1
    assert manifest.final_results.best_epoch == history.best_epoch == best
    assert manifest.final_results.test["clips"] == 25
    assert manifest.training_config.dim == 32


def test_evaluation_reproduces_the_score_of_the_run(trained, recordings):
    manifest = read_manifest(next(trained.glob("*_final_manifest.json")))
    weights = next(trained.glob("*.pth"))
    shown = asl_nb("evaluate", weights, "--data", recordings, "--participants", "synthetic02", "--json")
    result = json.loads(shown.stdout)
    assert result["top1"] == manifest.final_results.test["top1"]
    assert result["per_participant"].keys() == {"synthetic02"}
    assert set(result["per_sign"]) == set(manifest.reproduction.class_names)


def test_evaluation_in_words(trained, recordings):
    text = asl_nb("evaluate", next(trained.glob("*.pth")), "--data", recordings).stdout
    assert "top-1" in text and "125 clips" in text and "synthetic04" in text and "thankyou" in text


def test_prediction_is_one_json_line_per_clip(trained, recordings):
    clips = sorted(recordings.rglob("*.parquet"))[:3]
    lines = asl_nb("predict", next(trained.glob("*.pth")), *clips, "--json").stdout.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["clip"] for answer in answers] == list(map(str, clips))
    for answer in answers:
        probabilities = [guess["probability"] for guess in answer["guesses"]]
        assert len(probabilities) == 5 and sum(probabilities) <= 1 + 1e-6
        assert probabilities == sorted(probabilities, reverse=True)


def test_weights_alone_are_enough(trained, recordings, tmp_path):
    shutil.copy(next(trained.glob("*.pth")), tmp_path/"alone.pth")
    assert in_a_process("predict", "alone.pth", one_clip(recordings), cwd=tmp_path).stdout


def test_same_seed_same_curves(recordings, tmp_path):
    def losses(run, out):
        run("train", "--data", recordings, "--out", out, "--seed", 5, *SMALL)
        history = read_manifest(next(out.glob("*_final_manifest.json"))).training_history
        assert len(history.train_losses) == 2
        return history.model_dump_json(exclude={"epoch_seconds"})  # as text: NaN is not equal to itself
    assert losses(in_a_process, tmp_path/"one") == losses(asl_nb, tmp_path/"two")


def test_quick_trains_on_the_embedded_default(tmp_path):
    shown = asl_nb("train", "--quick", "--out", tmp_path)
    assert "synthetic signers" in shown.stdout and "_final_manifest.json" in shown.stdout
    assert read_manifest(next(tmp_path.glob("*_final_manifest.json"))).data_kind == "synthetic"


def test_help_shows_every_number():
    text = asl_nb("train", "--help", env={"COLUMNS": "200"}).stdout
    for option in ("--learning-rate", "--label-smoothing", "--restart-period", "--patience", "--test-participants",
                   "--skip-bad"):
        assert option in text


def test_missing_clip_is_refused_or_skipped_and_counted(copy, tmp_path):
    lost = one_clip(copy)
    lost.unlink()
    refused(asl_nb("train", "--data", copy, "--out", tmp_path/"out", check=False), lost.name)
    shown = asl_nb("train", "--data", copy, "--out", tmp_path/"out", "--skip-bad", *SMALL)
    assert lost.name in shown.stdout
    manifest = read_manifest(next((tmp_path/"out").glob("*_final_manifest.json")))
    assert len(manifest.reproduction.skipped) == 1 and lost.name in manifest.reproduction.skipped[0]


def test_broken_clip_is_named(copy, tmp_path, trained):
    clip = one_clip(copy)
    clip.write_bytes(clip.read_bytes()[:500])
    refused(asl_nb("train", "--data", copy, "--out", tmp_path/"out", check=False), clip.name, "truncated")
    refused(asl_nb("predict", next(trained.glob("*.pth")), clip, check=False), clip.name)


@pytest.mark.parametrize("words, expected", [
    (["--data", "nowhere"], "nowhere"), (["--test-participants", "Ann"], "Ann"),
    (["--learning-rate", "-1"], "learning_rate"), (["--signs", "hello,hugs"], "hugs"),
    (["--device", "abacus"], "abacus"), (["--test-share", "0.999", "--validation-share", "0.15"], "")])
def test_bad_values_are_refused_in_one_line(recordings, tmp_path, words, expected):
    data = [] if "--data" in words else ["--data", recordings]
    refused(asl_nb("train", *data, *words, "--out", tmp_path, check=False), expected)
    assert not list(tmp_path.glob("*.pth"))


def test_output_folder_that_is_a_file(recordings, tmp_path):
    (tmp_path/"file").write_text("precious")
    refused(asl_nb("train", "--data", recordings, "--out", tmp_path/"file", *SMALL, check=False), "file")
    assert (tmp_path/"file").read_text() == "precious"


@pytest.mark.parametrize("damage", ["truncated", "pickle", "other"])
def test_bad_weights_are_refused(trained, recordings, tmp_path, damage):
    path = tmp_path/"model.pth"
    if damage == "truncated": path.write_bytes(next(trained.glob("*.pth")).read_bytes()[:1000])
    if damage == "pickle": torch.save({"model": Path("anything that is not a tensor")}, path)
    if damage == "other": torch.save({"weights": torch.zeros(3)}, path)
    refused(asl_nb("evaluate", path, "--data", recordings, check=False), "model.pth")


FULL_DISK = """
import pathlib, resource, sys, threading, time
from asl_nb.cli import app
def fill(out):
    "From the first saved model on, the system refuses to write more than 10 kB into a file."
    while not list(out.glob("*.pth")): time.sleep(.01)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
threading.Thread(target=fill, args=(pathlib.Path(sys.argv[1]),), daemon=True).start()
app(sys.argv[2:])
"""


def test_full_disk_keeps_the_previous_best(recordings, tmp_path):
    words = ["train", "--data", recordings, "--out", tmp_path, "--dim", 32, "--epochs", 12, "--learning-rate", 2e-3]
    command = [sys.executable, "-c", FULL_DISK, tmp_path, *map(str, words)]
    refused(finished(*command), "File too large")
    weights = next(tmp_path.glob("*.pth"))
    assert asl_nb("predict", weights, one_clip(recordings)).stdout
    assert read_manifest(next(tmp_path.glob("*_manifest.json"))).name == weights.stem
    assert not list(tmp_path.glob(".*"))


def test_synthetic_models_say_so(trained, recordings):
    weights = next(trained.glob("*.pth"))
    assert "synthetic signers" in asl_nb("predict", weights, one_clip(recordings)).stderr
    shown = asl_nb("evaluate", weights, "--data", recordings, "--json")
    assert json.loads(shown.stdout)["trained_on"] == "synthetic" and "does not recognise ASL" in shown.stderr
    assert read_manifest(next(trained.glob("*_final_manifest.json"))).data_kind == "synthetic"


def test_loss_that_is_not_finite_stops_the_run(recordings, tmp_path):
    shown = asl_nb("train", "--data", recordings, "--out", tmp_path, *SMALL, "--learning-rate", "1e30", check=False)
    refused(shown, "learning_rate")


def test_one_sign_is_not_enough(recordings, tmp_path):
    refused(asl_nb("train", "--data", recordings, "--signs", "hello", "--out", tmp_path, check=False), "signs")


def test_wheel_carries_all_that_is_needed(tmp_path):
    "Build the source package, from that the wheel, install it elsewhere, and train there from the installed files."
    ignored = shutil.ignore_patterns(".venv", ".git", "build", "*.egg-info", "models")
    source = shutil.copytree(ROOT, tmp_path/"source", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    # the wheel is made from the sdist
    subprocess.run([sys.executable, "-m", "build", "--outdir", tmp_path, source], check=True)
    site = tmp_path/"site"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, next(tmp_path.glob("*.whl"))], check=True)
    where = subprocess.run([sys.executable, "-c", "import asl_nb; print(asl_nb.__file__)"], cwd=tmp_path, text=True,
                           capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(site)}).stdout
    assert Path(where.strip()).is_relative_to(site)
    shown = in_a_process("train", "--quick", "--dim", 32, "--epochs", 1, cwd=tmp_path, env={"PYTHONPATH": str(site)})
    assert "models/asl_model_v" in shown.stdout and list((tmp_path/"models").glob("*.pth"))
