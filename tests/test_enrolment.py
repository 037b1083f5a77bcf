"""Signs of one's own by command: added from recordings, known again, taken back; what cannot be is one line."""
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from asl_nb.cli import app
from asl_nb.data.clips import write_clip
from asl_nb.data.synthetic import Signer, perform
from asl_nb.evaluation.prediction import MODEL_IN_THE_BOX


def run(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def takes(tmp_path_factory):
    "Four takes of a sign that the model in the box does not know, and a clip without anybody."
    folder = tmp_path_factory.mktemp("takes")
    for number in range(4): write_clip(folder/f"green{number}.parquet", perform("green", Signer(), seed=number))
    write_clip(folder/"nobody.parquet", np.full((20, 543, 3), np.nan))
    return folder


@pytest.fixture(scope="module")
def mine(takes):
    "A model that knows the sign from three of the takes."
    path = takes/"mine.pth"
    recordings = [takes/f"green{number}.parquet" for number in range(3)]
    code, said, _ = run("enrol", *recordings, "--sign", "green", "--by", "Anna", "--out", path)
    assert code == 0 and "37 signs" in said
    return path


def test_an_enrolled_sign_is_recognised(mine, takes):
    code, said, _ = run("predict", mine, takes/"green3.parquet", "--json")
    answer = json.loads(said)
    assert code == 0 and answer["known"] and answer["guesses"][0]["sign"] == "green"


def test_a_model_lists_what_was_added_and_by_whom(mine):
    assert run("enrol", mine)[1].split() == ["green", "recorded", "by", "Anna"]
    assert run("enrol", MODEL_IN_THE_BOX)[1] == "no sign was enrolled\n"


def test_the_model_in_the_box_is_not_changed(mine, takes):
    _, said, _ = run("predict", MODEL_IN_THE_BOX, takes/"green3.parquet", "--json")
    assert "green" not in {guess["sign"] for guess in json.loads(said)["guesses"]}


def test_removed_it_is_the_model_from_before(mine, takes, tmp_path):
    again = tmp_path/"again.pth"
    assert run("enrol", mine, "--sign", "green", "--remove", "--out", again)[0] == 0
    before, after = (json.loads(run("predict", model, takes/"green3.parquet", "--json")[1])["guesses"]
                     for model in (MODEL_IN_THE_BOX, again))
    assert after == before


@pytest.mark.parametrize("words, told", [
    (["green3.parquet", "--sign", "hello"], "hello is known already"),
    (["--sign", "green"], "green has no recordings"),
    (["green3.parquet"], "--sign: give the name"),
    (["nobody.parquet", "nobody.parquet", "--sign", "green"], "nobody"),
    (["gone.parquet", "--sign", "green"], "no such file"),
    (["--sign", "green", "--remove"], "green was not enrolled"),
])
def test_what_cannot_be_enrolled_is_one_line(takes, tmp_path, words, told):
    files = [takes/word if word.endswith(".parquet") else word for word in words]
    code, _, said = run("enrol", MODEL_IN_THE_BOX, *files, "--out", tmp_path/"out.pth")
    assert code == 2 and told in said.splitlines()[-1] and not (tmp_path/"out.pth").exists()
