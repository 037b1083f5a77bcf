"""A number in prose that a command printed stands in the outputs or tables beside it."""
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NBS = ROOT/"nbs"
NOTEBOOKS = sorted(path for path in NBS.rglob("*.ipynb") if not any(part[0] in "._" for part in path.relative_to(NBS).parts))
NUMBER = r"(?<![\w.,/:#-])(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+)(?:\s?(%)|(?![\w.,:-]*\w))"
# What no notebook computes, and where it is from.
KNOWN = {
    94_477: "clips of asl-signs", 9_510: "clips of the guide's 25 signs in asl-signs", 7_134: "of these, for training", 2_376: "of these, for the test",
    1.97: "million parameters of the guide's network", 76.05: "the guide's validation accuracy, in %", 65_504: "the largest number of float16",
}


def numbers(text):
    "Every number of a text with the digits behind its point, and whether it is a percentage."
    for digits, percent in re.findall(NUMBER, text.replace("\xa0", " ").replace("\u202f", " ")):
        yield float(digits.replace(",", "")), len(digits.partition(".")[2]), bool(percent), digits


def markdown(path): return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]


@cache
def evidence(path):
    "All numbers in the code, the text outputs and the tables of a notebook, and in the tables (csv) beside it."
    texts = [line for source in markdown(path) for line in source.splitlines() if line.lstrip().startswith("|")]
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type != "code": continue
        texts.append(cell.source)
        for output in cell.outputs:
            texts += [str(text) for kind, text in output.get("data", {}).items() if kind.startswith("text/")] + [output.get("text", "")]
    if "read_csv" in "".join(texts): texts += [table.read_text(encoding="utf-8") for table in path.parent.glob("*.csv")]
    return {value for text in texts for value, *_ in numbers(re.sub(r"<[^>]+>", " ", text))}


def measured(paragraph):
    "The numbers of a paragraph that look measured: with a point, with thousands, or in per cent."
    plain = re.sub(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)", " ", paragraph)
    return [(value, places, percent, digits) for value, places, percent, digits in numbers(plain) if percent or "." in digits or "," in digits]


def is_shown(value, places, percent, shown):
    "Whether a number stands among those shown, rounded as it is in the prose, also as a share."
    def near(wanted, digits): return any(abs(each - wanted) <= .5*10**-digits + 1e-9 for each in shown)
    return value in KNOWN or near(value, places) or (percent and near(value/100, places + 2)) or (not percent and near(100*value, places - 2))


def unfounded(path):
    "Numbers in the prose of a notebook that stand in no output or table of it, nor of a notebook that the paragraph links."
    found = []
    text = "\n\n".join(markdown(path)).partition("## Exercises")[0]
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
    for paragraph in re.split(r"\n\s*\n|\n(?=[-*] )", text):
        if paragraph.lstrip().startswith(("|", "#")): continue
        linked = [(path.parent/link).resolve() for link in re.findall(r"\]\(([^)#]+\.ipynb)", paragraph)]
        shown = evidence(path).union(*(evidence(other) for other in linked if other.exists()))
        found += [f"{digits}{' %' if percent else ''} in: {' '.join(paragraph.split())[:100]}"
                  for value, places, percent, digits in measured(paragraph) if not is_shown(value, places, percent, shown)]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(NBS).with_suffix("")))
def test_numbers_in_prose_stand_in_an_output_or_a_table(path):
    assert not unfounded(path)


def test_a_number_that_no_output_shows_is_found(tmp_path):
    path = tmp_path/"lesson.ipynb"
    output = nbformat.v4.new_output("execute_result", {"text/plain": "0.8349"}, execution_count=1)
    cells = [nbformat.v4.new_code_cell("score", outputs=[output]), nbformat.v4.new_markdown_cell("It knows 83.5 % of them.\n\nIt knows 84.5 % of 2,589 clips.")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    assert unfounded(path) == ["84.5 % in: It knows 84.5 % of 2,589 clips.", "2,589 in: It knows 84.5 % of 2,589 clips."]
