"""The front door: help, version, proposals, configurations in files, and nothing deleted without a question."""
import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from asl_nb import __version__
from asl_nb.cli import app, full_command
from asl_nb.data.synthetic import write_synthetic

RUNNER = CliRunner()


def run(*words, **more): return RUNNER.invoke(app, [str(word) for word in words], **more)


def test_the_version_is_the_packages():
    assert run("--version").stdout == f"asl-nb {__version__}\n"


@pytest.mark.parametrize("typed, proposed", [("trian", "train"), ("evalute", "evaluate"), ("prepair", "prepare")])
def test_a_mistyped_command_is_told_the_nearest(typed, proposed):
    done = run(typed)
    assert done.exit_code == 2 and f"Did you mean '{proposed}'" in done.stderr


@pytest.mark.parametrize("typed", ["remov", "removed", "remve", "rmove", "demos"])
def test_a_command_that_deletes_is_never_proposed(typed):
    done = run(typed)
    assert done.exit_code == 2 and "'remove'" not in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["trian"], ["runs", "--help"], ["predict"]])
def test_help_and_usage_errors_load_nothing_heavy(words):
    code = (f"import sys; from asl_nb.cli import app\ntry: app({words})\n"
            "except SystemExit: print(sorted({'torch', 'pandas', 'numpy', 'matplotlib'} & set(sys.modules)))")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["train", "crossval", "bench", "predict"])
def test_help_shows_kinds_that_a_person_knows(command):
    kinds = set(re.findall(r"^  --[^<\n]*<(.*?)>", run(command, "--help").output, re.M))
    assert not [kind for kind in kinds if re.search(r"[A-Z_.(]", kind)] # such as typing.Annotated[…]


@pytest.mark.parametrize("name", ["mine.toml", "mine.json"])
def test_a_configuration_goes_to_a_file_and_comes_back(tmp_path, name):
    path, again = tmp_path/name, tmp_path/"again.json"
    given = ("--recipe", "guide", "--test-participants", "ana,ben", "--learning-rate", ".002", "--dilations", "1,2",
             "--tcn-dropouts", ".1,.2")
    assert run("train", *given, "--save-config", path).exit_code == 0
    assert run("train", "--config", path, "--epochs", 9, "--save-config", again).exit_code == 0
    values = json.loads(again.read_text())
    assert values["recipe"] == "guide" and values["test_participants"] == ["ana", "ben"]
    assert (values["learning_rate"], values["epochs"], values["dilations"]) == (.002, 9, [1, 2])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "again.json"]) # and nothing was trained


@pytest.mark.parametrize("content, told", [("epochs = = 1", "no valid TOML"), ("epoch = 3", "did you mean 'epochs'"),
                                           ("epochs = 0", "epochs"), ("data = 3", "data")])
def test_a_wrong_configuration_file_is_one_line_that_names_it(tmp_path, content, told):
    path = tmp_path/"wrong.toml"
    path.write_text(content)
    done = run("train", "--config", path)
    assert done.exit_code == 2 and told in done.stderr and str(path) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["mine.toml", "mine.json"])
def test_every_name_can_stand_in_a_configuration_file(tmp_path, name):
    people = "José,手,🤟"
    assert run("train", "--test-participants", people, "--save-config", tmp_path/name).exit_code == 0
    assert run("train", "--config", tmp_path/name, "--save-config", tmp_path/"again.json").exit_code == 0
    assert json.loads((tmp_path/"again.json").read_text(encoding="utf-8"))["test_participants"] == people.split(",")


def test_a_recipe_beside_a_file_with_another_recipe_leaves_no_mixture(tmp_path):
    assert run("train", "--recipe", "guide", "--save-config", tmp_path/"guide.toml").exit_code == 0
    done = run("train", "--config", tmp_path/"guide.toml", "--recipe", "best", "--save-config", tmp_path/"mixed.json")
    assert done.exit_code == 2 and "--recipe" in done.stderr and not (tmp_path/"mixed.json").exists()
    same = run("train", "--config", tmp_path/"guide.toml", "--recipe", "guide", "--save-config", tmp_path/"same.json")
    assert same.exit_code == 0
    (tmp_path/"few.toml").write_text("epochs = 5\n")
    few = ("--config", tmp_path/"few.toml", "--recipe", "guide", "--save-config", tmp_path/"few.json")
    assert run("train", *few).exit_code == 0
    assert json.loads((tmp_path/"few.json").read_text())["learning_rate"] == 4e-4


def test_the_threshold_that_the_help_of_live_names_is_the_recognisers():
    from asl_nb.live.recognizer import SegmentationConfig
    told = next(option.help for option in full_command("live").params if option.name == "least")
    assert told.endswith(f"not given: {SegmentationConfig.min_confidence}".replace("0.", "."))


def test_a_configuration_file_that_is_not_there_is_one_line(tmp_path):
    done = run("train", "--config", tmp_path/"nowhere.toml")
    assert done.exit_code == 2 and len(done.stderr.strip().splitlines()) == 1


def test_the_manifest_of_a_run_is_a_configuration(tmp_path):
    data = write_synthetic(tmp_path/"data", signers=4, clips_per_sign=1, seed=0, signs=("hello", "please"))
    trained = run("train", "--data", data, "--quick", "--dim", 16, "--seed", 7, "--out", tmp_path/"models")
    assert trained.exit_code == 0, trained.stderr
    manifest = next((tmp_path/"models").glob("*_final_manifest.json"))
    assert run("train", "--config", manifest, "--save-config", tmp_path/"again.json").exit_code == 0
    values = json.loads((tmp_path/"again.json").read_text())
    assert (values["seed"], values["dim"], values["data"]) == (7, 16, str(data))


def test_a_run_killed_before_its_first_checkpoint_is_told_from_a_finished_one(tmp_path):
    (tmp_path/"asl_model_v20260101_120000_manifest.json").write_text("")
    done = run("train", "--resume", tmp_path)
    assert done.exit_code == 2 and "before its first checkpoint" in done.stderr
    (tmp_path/"asl_model_v20260101_120000_final_manifest.json").write_text("{}")
    assert "a finished run leaves none" in run("train", "--resume", tmp_path).stderr


def test_every_command_names_the_column_that_a_clip_lacks(tmp_path):
    import pyarrow.parquet as pq

    from asl_nb.data.clips import COLUMNS
    from asl_nb.evaluation.prediction import MODEL_IN_THE_BOX as model
    folder = write_synthetic(tmp_path/"clips", signers=3, clips_per_sign=1, signs=("hello", "please"), progress=False)
    clips = sorted(folder.rglob("*.parquet"))
    whole, tables = clips[0].read_bytes(), [pq.read_table(clip) for clip in clips]
    for column in COLUMNS:
        pq.write_table(tables[0].drop([column]), clips[0])
        done = run("predict", clips[0], "--json")
        assert done.exit_code == 2 and f"column {column} is missing" in done.stderr
    for clip, table in zip(clips, tables): pq.write_table(table.drop(["type"]), clip)
    out = tmp_path/"out"
    commands = [["inspect", folder], ["evaluate", model, "--data", folder], ["pack", folder, out],
                ["prepare", "--source", folder, "--out", tmp_path/"split", "--signs", "all"],
                ["train", "--data", folder, "--out", tmp_path/"models"],
                ["explain", model, clips[0], "--out", tmp_path/"a.png"], ["evaluate-stream", model, "--data", folder],
                ["crossval", "--data", folder, "--folds", "synthetic01;synthetic02", "--out", tmp_path/"folds"]]
    for words in commands:
        done = run(*words)
        assert done.exit_code == 2 and "column type is missing" in done.stderr.splitlines()[-1], words
    for words in commands[:5]: # nothing is left of the dataset: no success, and no half-made folder
        done = run(*words, "--skip-bad")
        assert "column type is missing" in (done.stderr or done.stdout), words
        assert done.exit_code == (0 if words[0] == "inspect" else 2), words
    assert not (out/"train.csv").exists() and not (tmp_path/"split").exists()
    clips[0].write_bytes(whole)
    done = run("pack", folder, out, "--skip-bad")
    assert done.exit_code == 0 and "1 clips" in done.stdout


def test_explain_takes_what_predict_takes_and_a_video_is_called_one(tmp_path):
    from asl_nb.evaluation.prediction import MODEL_IN_THE_BOX as model
    (tmp_path/"video.mp4").write_bytes(b"not really")
    video = tmp_path/"video.mp4"
    for words in (["explain", model, video, "--out", tmp_path/"a.png"], ["predict", video]):
        done = run(*words)
        assert done.exit_code == 2 and "parquet" not in done.stderr, done.stderr


def test_hints_say_how_to_install_from_a_clone(monkeypatch):
    from asl_nb.capture.video import load_library
    from asl_nb.core.errors import InputError
    from asl_nb.evaluation.prediction import load_onnx_library
    for name, load, extra in (("mediapipe", load_library, "capture"), ("onnxruntime", load_onnx_library, "export")):
        monkeypatch.setitem(sys.modules, name, None)
        hint = f"in the folder of the clone: python setup_venv.py dev {extra}"
        with pytest.raises(InputError, match=hint): load(name)
