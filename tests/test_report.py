"""The report: harmless, self-contained, whole or not at all, true to its own numbers; and the measures behind it."""
import errno
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jinja2 import UndefinedError

from asl_nb.core.errors import InputError
from asl_nb.data.datasets import ClipDataset
import asl_nb.evaluation.report as module
from asl_nb.evaluation.calibration import (TEMPERATURES, at_coverages, calibration_error, fit_temperature,
                                           probabilities, reliability_table, selective_accuracy)
from asl_nb.evaluation.prediction import best_guesses
from asl_nb.evaluation.report import make_report, report_on, share_without_hands, write_report
from asl_nb.evaluation.scores import Predictions, confusion_counts, evaluate, predict_dataset, signer_bootstrap_ci
from asl_nb.evaluation.unknown import open_set_scores
from asl_nb.network.model import ASLModel

SIGNS = ("hello", "please", "mom", "dad", "go")


def make_clip(seed, frames=4):
    "A clip with hands in half of its frames."
    clip = np.random.default_rng(seed).normal(.5, .1, (frames, 543, 3)).astype(np.float32)
    clip[frames//2:, 468:489] = clip[frames//2:, 522:] = np.nan
    return clip


def make_predictions(labels, participants, signs=SIGNS, seed=0, skill=2.):
    "Random answers that are right more often than not."
    rng, labels = np.random.default_rng(seed), np.asarray(labels)
    logits = rng.normal(0, 1.5, (len(labels), len(signs)))
    logits[np.arange(len(labels)), labels] += skill
    dataset = ClipDataset([make_clip(number, 3 + number % 5) for number in range(len(labels))], labels, participants,
                          [f"clip{number}" for number in range(len(labels))], signs)
    return Predictions(dataset, torch.tensor(logits, dtype=torch.float32))


@pytest.fixture(scope="module")
def predictions():
    return make_predictions(np.arange(60) % 5, [f"person {number//15}" for number in range(60)])


ADDRESSES = ("src", "href", "srcset", "data", "action", "poster", "background")


class Page(HTMLParser):
    "What a browser would find: tags, addresses, text, and the rows of every table."
    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.texts, self.tables, self.open = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ADDRESSES]
        assert not [name for name, _ in attributes if name.startswith("on")], "a script in an attribute"
        if tag not in ("meta", "img", "br"): self.open.append(tag)
        if tag == "table": self.tables.append([])
        if tag == "tr": self.tables[-1].append([])
        if tag in ("td", "th"): self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "tags are not nested"

    def handle_data(self, data):
        if self.open and self.open[-1] != "style": self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"): self.tables[-1][-1][-1] += data


def check_page(text):
    "Assert that a page asks nobody for anything, and return what is on it."
    page = Page(text)
    assert page.open == []
    assert all(re.fullmatch(r"data:image/(png|gif);base64,[A-Za-z0-9+/=]+", address) for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "video", "audio"} & set(page.tags)
    assert not re.search(r"https?://|@import|url\(", text)
    assert "default-src 'none'" in text and 'name="viewport"' in text and '<html lang="en">' in text
    return page


def written(report, folder):
    path = write_report(report, folder)
    assert len(path.read_bytes()) < 5e6
    assert not list(folder.glob(".*")), "a temporary file is left"
    return check_page(path.read_text()), json.loads((folder/"report.json").read_text())


def test_the_page_stands_alone_and_agrees_with_the_json(predictions, tmp_path):
    report = report_on(predictions, temperature=1.5, trained_on="recordings", title="A <b>title</b>", most_pairs=2)
    page, numbers = written(report, tmp_path/"report")
    assert numbers == report.as_dict()
    assert "NaN" not in (tmp_path/"report"/"report.json").read_text()
    headline, by_signer, by_sign, selective = page.tables
    percent = "{:.1%}".format
    for row, name in zip(headline[1:], ("top1", "top3", "top5"), strict=True):
        assert row[1] == percent(numbers["scores"][name])
        assert row[2] == " – ".join(map(percent, numbers["intervals"][name]))
    for table, scores in ((by_signer, numbers["scores"]["per_participant"]), (by_sign, numbers["scores"]["per_sign"])):
        shares = sorted(score["top1"] for score in scores.values())
        assert [row[2] for row in table[1:]] == [percent(share) for share in shares]
        for name, clips, *shares in table[1:]:
            score = scores[name]
            assert clips == str(score["clips"])
            assert shares[:3] == [percent(score[top]) for top in ("top1", "top3", "top5")]
    answered = [[percent(row["coverage"]), percent(row["accuracy"])] for row in numbers["selective"]]
    assert [row[:2] for row in selective[1:]] == answered
    text = "".join(page.texts)
    for error in ("before", "after"): assert percent(numbers["calibration_error"][error]) in text
    assert "A <b>title</b>" in text and "b" not in page.tags
    assert numbers["worst_signer"] in text and "ynthetic" not in text
    for pair in numbers["pairs"]: assert f"{pair['clips']} of {pair['of']} clips" in text
    assert page.tags.count("img") == 7 + 2*len(numbers["pairs"])


def test_numbers_are_those_of_the_evaluation(predictions):
    report, scores = report_on(predictions), predictions.evaluate()
    assert report.scores == scores
    correct = (predictions.logits.argmax(-1) == predictions.labels).numpy()
    assert report.scores.top1 == pytest.approx(correct.mean())
    for bins in (report.by_length, report.by_missing_hands):
        assert sum(each.clips for each in bins) == 60
        assert sum(each.clips*each.top1 for each in bins) == pytest.approx(correct.sum())
    assert sum(mistake["clips"] for mistake in report.confusions) == (~correct).sum()
    lowest = min(score.top1 for score in scores.per_participant.values())
    assert scores.per_participant[report.worst_signer].top1 == lowest


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "$x_{$", "a"*300,
                                  "{{ 7*7 }}", "日本 ☃", "' & ;"])
def test_foreign_names_do_no_harm(name, tmp_path):
    plain = make_predictions(np.arange(20) % 5, ["ana"]*10 + [name]*10, skill=.5)
    dataset = replace(plain.dataset, classes=(name, *SIGNS[1:]), sequence_ids=[name]*20)
    report = report_on(replace(plain, dataset=dataset), title=name, most_pairs=1)
    page, numbers = written(report, tmp_path)
    assert name in "".join(page.texts)
    assert name in numbers["scores"]["per_sign"] and name in numbers["scores"]["per_participant"]
    assert "49" not in name or "49" in "".join(page.texts)


def test_a_title_is_shown_as_text(tmp_path):
    report = report_on(make_predictions([1], ["ana"]), title="run\x1b[2K\n\udce9 <script>")
    page, numbers = written(report, tmp_path)
    assert numbers["title"] == r"run\x1b[2K\n\udce9 <script>" and numbers["title"] in "".join(page.texts)


def test_one_signer_has_no_interval(tmp_path):
    report = report_on(make_predictions(np.arange(10) % 5, ["ana"]*10), most_pairs=1)
    page, numbers = written(report, tmp_path)
    assert numbers["intervals"] == {"top1": None, "top3": None, "top5": None}
    assert "No interval over signers can be given" in "".join(page.texts)


@pytest.mark.parametrize("skill", [20., -20.])
def test_one_clip(skill, tmp_path):
    report = report_on(make_predictions([1], ["ana"], skill=skill))
    page, numbers = written(report, tmp_path)
    assert numbers["scores"]["clips"] == 1 and numbers["scores"]["top1"] == float(skill > 0)
    assert ("No clip was taken for another sign" in "".join(page.texts)) == (skill > 0)
    if skill < 0: assert numbers["pairs"][0]["example"] is None and "There is no clip of" in "".join(page.texts)


def test_a_sign_with_a_single_clip(tmp_path):
    report = report_on(make_predictions([0, 0, 0, 1, 1, 2], ["ana", "ben"]*3, skill=-3.), most_pairs=3)
    page, numbers = written(report, tmp_path)
    assert numbers["scores"]["per_sign"]["mom"]["clips"] == 1
    assert set(numbers["scores"]["per_sign"]) == {"hello", "please", "mom"}, "signs without clips have no score"


@pytest.mark.parametrize("people,trained_on,expected", [
    (["ana", "ben"], "recordings", []),
    (["synthetic01", "ben"], None, ["Synthetic clips."]),
    (["synthetic01", "synthetic02"], "synthetic", ["Synthetic model.", "Synthetic clips."])])
def test_the_page_says_synthetic_plainly(people, trained_on, expected, tmp_path):
    report = report_on(make_predictions([0, 1, 2, 3], people*2), trained_on=trained_on, most_pairs=0)
    page, numbers = written(report, tmp_path)
    assert [text for text in page.texts if text.startswith("Synthetic")] == expected


def test_many_signs(tmp_path):
    signs = tuple(f"sign{number}" for number in range(250))
    rng = np.random.default_rng(0)
    labels, people = rng.integers(0, 250, 500), [f"p{number}" for number in rng.integers(0, 21, 500)]
    report = report_on(make_predictions(labels, people, signs, skill=4.), most_pairs=1)
    page, numbers = written(report, tmp_path)
    assert len(page.tables[2]) == 1 + len(numbers["scores"]["per_sign"])
    assert len(module.most_confused_signs(report)) <= 20


def test_signs_that_the_model_does_not_know(tmp_path):
    torch.manual_seed(0)
    dataset = make_predictions([0, 1, 2, 3, 4, 4], ["ana", "ben"]*3).dataset
    model = ASLModel(num_classes=3, dim=16)
    model.temperature = 2.
    report = make_report(model, ("please", "hello", "yes"), replace(dataset, skipped=["broken.parquet: <empty>"]))
    assert report.scores.unknown_signs == {"mom": 1, "dad": 1, "go": 2} and report.temperature == 2
    page, numbers = written(report, tmp_path)
    assert "mom (1), dad (1), go (2)" in "".join(page.texts) and "broken.parquet: <empty>" in "".join(page.texts)
    with pytest.raises(InputError, match="known to the model"): make_report(model, ("a", "b", "c"), dataset)


def test_how_unknown_signs_are_told_apart_is_a_curve(tmp_path):
    known, labels = torch.randn(40, 4)*3, torch.arange(40) % 4
    found = asdict(open_set_scores(known, labels, torch.randn(30, 4), threshold=.2))
    plain_page = report_on(make_predictions([1, 2], ["ana"]*2))
    report = replace(plain_page, unknown=found)
    page, numbers = written(report, tmp_path)
    assert numbers["unknown"] == report.as_dict()["unknown"] and len(numbers["unknown"]["curve"]) == 51
    text = "".join(page.texts)
    assert f"{found['false_names']:.1%} of them get a name" in " ".join(text.split())
    assert f"{found['named']:.1%} of the known ones do" in " ".join(text.split())
    assert (tmp_path/"unknown.png").is_file() and "unknown" not in module.draw_figures(plain_page)


def test_a_full_disk_leaves_the_old_report_as_it_was(predictions, tmp_path, monkeypatch):
    report = report_on(predictions, most_pairs=1)
    write_report(report, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write, left = Path.write_bytes, [4]
    def until_full(path, content):
        left[0] -= 1
        if left[0] > 0: return write(path, content)
        write(path, content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(Path, "write_bytes", until_full)
    with pytest.raises(InputError, match="No space left"): write_report(replace(report, title="new"), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(InputError, match="No space left"): write_report(report, tmp_path/"fresh")
    assert list((tmp_path/"fresh").iterdir()) == []


def test_places_that_cannot_be_written(predictions, tmp_path):
    report = report_on(predictions, most_pairs=1)
    (tmp_path/"file").write_text("x")
    with pytest.raises(InputError, match="file"): write_report(report, tmp_path/"file")
    with pytest.raises(InputError, match="file"): write_report(report, tmp_path/"file"/"below")
    (tmp_path/"folder"/"report.json").mkdir(parents=True)
    with pytest.raises(InputError, match="report.json"): write_report(report, tmp_path/"folder")
    assert [path.name for path in (tmp_path/"folder").iterdir()] == ["report.json"]


def test_a_second_report_is_the_same(predictions, tmp_path):
    report = report_on(predictions, most_pairs=1)
    one, two = write_report(report, tmp_path/"one"), write_report(report_on(predictions, most_pairs=1), tmp_path/"two")
    assert one.read_bytes() == two.read_bytes()


def test_a_template_with_a_wrong_name_fails_loudly_and_writes_nothing(predictions, tmp_path, monkeypatch):
    report = report_on(predictions, most_pairs=0)
    write_report(report, tmp_path/"good")
    template = module.PAGE_TEMPLATE.read_text(encoding="utf-8")
    misspelled = tmp_path/"misspelled.html"
    misspelled.write_text(template.replace("</body>", "{{ report.nonsense }}</body>"), encoding="utf-8")
    monkeypatch.setattr(module, "PAGE_TEMPLATE", misspelled)
    before = {path.name: path.read_bytes() for path in (tmp_path/"good").iterdir()}
    for folder in ("good", "fresh"):
        with pytest.raises(UndefinedError, match="nonsense"):
            write_report(replace(report, title="new"), tmp_path/folder)
    assert {path.name: path.read_bytes() for path in (tmp_path/"good").iterdir()} == before
    assert not (tmp_path/"fresh").exists()


logits_of = arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(2, 8)), elements=st.floats(-30, 30, width=16))


@settings(max_examples=60, deadline=None)
@given(logits=logits_of, temperature=st.floats(.05, 20), seed=st.integers(0, 9))
def test_temperature_never_changes_an_answer(logits, temperature, seed):
    labels = torch.tensor(np.random.default_rng(seed).integers(0, logits.shape[1], len(logits)))
    logits = torch.tensor(logits)
    chosen = probabilities(logits, temperature).argmax(-1, keepdim=True)
    assert (logits.gather(1, chosen)[:, 0] == logits.amax(-1)).all()
    for one in logits[:3]:
        names = [f"s{number}" for number in range(len(one))]
        plain, scaled = ({guess.sign for guess in best_guesses(one, names, 1, t)} for t in (1., temperature))
        assert float(one[int(min(scaled)[1:])]) == float(one[int(min(plain)[1:])]) == float(one.max())
    table = selective_accuracy(logits, labels, temperature)
    assert table.coverage.iloc[-1] == 1 and table.coverage.is_monotonic_increasing
    assert at_coverages(table).coverage.iloc[0] == 1
    bins = reliability_table(logits, labels, temperature)
    assert bins.clips.sum() == len(logits)
    by_hand = (bins.clips*(bins.confidence - bins.accuracy).abs()).sum()/len(logits)
    assert by_hand == pytest.approx(calibration_error(logits, labels, temperature), abs=1e-5)
    assert TEMPERATURES[0] <= fit_temperature(logits, labels) <= TEMPERATURES[1]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(.4, 3), boast=st.floats(.3, 4))
def test_a_calibrated_set_is_found_calibrated(seed, scale, boast):
    torch.manual_seed(seed)
    honest = 3*scale*torch.randn(6000, 10)
    labels = torch.multinomial(honest.softmax(-1), 1)[:, 0]
    assert calibration_error(honest, labels) < .04
    fitted = fit_temperature(boast*honest, labels)
    assert fitted == pytest.approx(boast, rel=.1)
    assert calibration_error(boast*honest, labels, fitted) < .04


def test_fitted_temperature_has_the_lowest_loss():
    torch.manual_seed(0)
    logits, labels = 3*torch.randn(300, 7), torch.randint(7, (300,))
    logits[torch.arange(200), labels[:200]] += 4
    def loss(temperature): return torch.nn.functional.cross_entropy(logits.double()/temperature, labels).item()
    fitted = fit_temperature(logits, labels)
    assert all(loss(fitted) <= loss(other) + 1e-12 for other in np.geomspace(*TEMPERATURES, 200))


def test_intervals():
    correct, people = np.array([1, 1, 1, 1, 0, 0, 1, 0], dtype=bool), list("aaaabbbb")
    low, high = signer_bootstrap_ci(correct, people)
    assert (low, high) == (.25, 1.) and signer_bootstrap_ci(correct, people, seed=0) == (low, high)
    assert signer_bootstrap_ci(np.ones(8, bool), people) == (1., 1.)
    assert signer_bootstrap_ci(correct, ["a"]*8) is None


def test_predictions_and_evaluation_agree(predictions):
    listed = predictions.answers()
    scores = predictions.evaluate()
    for top_k in (1, 3, 5): assert (listed["rank"] <= top_k).mean() == pytest.approx(getattr(scores, f"top{top_k}"))
    assert confusion_counts(predictions.logits, predictions.labels, SIGNS).clips.sum() == (~listed.correct).sum()
    torch.manual_seed(0)
    model = ASLModel(num_classes=5, dim=16)
    answered = predict_dataset(model, SIGNS[::-1], predictions.dataset)
    assert answered.classes == SIGNS[::-1]
    assert [answered.classes[label] for label in answered.labels] == listed.sign.tolist()
    assert evaluate(model, SIGNS[::-1], predictions.dataset) == answered.evaluate()


def test_frames_without_hands():
    assert share_without_hands(make_clip(0, 4)) == .5
    assert share_without_hands(np.full((3, 543, 3), np.nan, dtype=np.float32)) == 1


def test_names_in_a_script_without_a_font_are_numbered_and_the_page_says_which(tmp_path, recwarn):
    from asl_nb.core import figures
    figures.NUMBERED.clear()
    signs = ["สวัสดี\U0010fffd", "你好\U0010fffc", "привет"] # each of the first two has a letter that no font can have
    report = report_on(make_predictions([0, 1, 2, 1]*5, ["ana"]*20, signs, skill=1.), most_pairs=1)
    page = write_report(report, tmp_path/"report").read_text(encoding="utf-8")
    numbered = dict(figures.NUMBERED)
    figures.NUMBERED.clear()
    assert numbered and all("\U0010fffd" in name or "\U0010fffc" in name for name in numbered)
    assert all(f"#{number} {name}" in page for name, number in numbered.items())
    assert not [each for each in recwarn if "Glyph" in str(each.message) or "glyph" in str(each.message)]
