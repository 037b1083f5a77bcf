"""A number in prose that a command printed stands in the outputs or tables beside it."""
import re
from functools import cache

import nbformat
import pytest

from notebooks import NOTEBOOKS, cells, markdown, name_of

NUMBER = r"(?<![\w.,/:#-])(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+)(?:\s?(%)|(?![\w.,:-]*\w))"
# What looks like a measured number and is a name: papers (arXiv 1710.09412) and versions (Python 3.11 or 3.12).
PAPER = r"(?i:arxiv)(?:\.org/\w+/|[\s:]+)\d{4}\.\d{4,5}(?:v\d+)?"
VERSION = r"\bPython\s+(?:up\s+to\s+)?3\.\d+(?:\s+(?:or|and|to)\s+3\.\d+)*(?!\.?\d)"
OPERAND = r"\d[\d,]*(?:\.\d+)?"
CALCULATION = rf"(?<![\w.,]){OPERAND}(?:\s*[·×/+−]\s*{OPERAND})+"
# What no notebook computes, and where it is from.
KNOWN = {
    94_477: "clips of asl-signs",
    9_510: "clips of ASL25 in asl-signs", 7_134: "of these, for training", 2_376: "of these, for the test",
    1.97: "million parameters of the guide's network", 76.05: "the guide's validation accuracy, in %",
    65_504: "the largest number of float16",
}


def numbers(text):
    "Every number of a text with the digits behind its point, and whether it is a percentage."
    for digits, percent in re.findall(NUMBER, text.replace("\xa0", " ").replace("\u202f", " ")):
        yield float(digits.replace(",", "")), len(digits.partition(".")[2]), bool(percent), digits


@cache
def evidence(path):
    "All numbers in the code, the text outputs and the tables of a notebook, and in the tables (csv) beside it."
    texts = [line for line in markdown(path).splitlines() if line.lstrip().startswith("|")]
    for cell in cells(path):
        texts.append(cell.source)
        for output in cell.outputs:
            texts += [str(text) for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
            texts.append(output.get("text", ""))
    if "read_csv" in "".join(texts):
        texts += [table.read_text(encoding="utf-8") for table in path.parent.glob("*.csv")]
    return {value for text in texts for value, *_ in numbers(re.sub(r"<[^>]+>", " ", text))}


def measured(paragraph):
    "The numbers of a paragraph that look measured: with a point, with thousands, or in per cent."
    plain = re.sub(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)", " ", paragraph)
    plain = re.sub(f"{PAPER}|{VERSION}", " ", plain)
    return [number for number in numbers(plain) if number[2] or "." in number[3] or "," in number[3]]


def calculated(paragraph):
    "The results of the sums and products that are written out in a paragraph, for example 192 · 17."
    calculations = [text.replace(",", "") for text in re.findall(CALCULATION, paragraph)]
    written = [text.replace("·", "*").replace("×", "*").replace("−", "-") for text in calculations]
    return {eval(text) for text in written if not re.search(r"/\s*0(?!\.)|(?<![\d.])0\d", text)}


def is_shown(value, places, percent, shown):
    "Whether a number stands among those shown, rounded as it is in the prose, also as a share."
    def near(wanted, digits): return any(abs(each - wanted) <= .5*10**-digits + 1e-9 for each in shown)
    if value in KNOWN or near(value, places): return True
    return near(value/100, places + 2) if percent else near(100*value, places - 2)


def unfounded(path):
    "Numbers in prose that are not calculated there, nor shown in the notebook or in one that the paragraph links."
    found = []
    text = markdown(path).partition("## Exercises")[0]
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
    for paragraph in re.split(r"\n\s*\n|\n(?=[-*] )", text):
        if paragraph.lstrip().startswith(("|", "#")): continue
        linked = [(path.parent/link).resolve() for link in re.findall(r"\]\(([^)#]+\.ipynb)", paragraph)]
        shown = evidence(path).union(*(evidence(other) for other in linked if other.exists()), calculated(paragraph))
        bad = [digits + " %"*percent for value, places, percent, digits in measured(paragraph)
               if not is_shown(value, places, percent, shown)]
        found += [f"{number} in: {' '.join(paragraph.split())[:100]}" for number in bad]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_numbers_in_prose_stand_in_an_output_or_a_table(path):
    assert not unfounded(path)


def found_in(folder, prose, shown="0.8349"):
    "What is unfounded in a notebook with one output and some prose."
    output = nbformat.v4.new_output("execute_result", {"text/plain": shown}, execution_count=1)
    code, text = nbformat.v4.new_code_cell("score", outputs=[output]), nbformat.v4.new_markdown_cell(prose)
    nbformat.write(nbformat.v4.new_notebook(cells=[code, text]), folder/"lesson.ipynb")
    evidence.cache_clear()
    return [each.partition(" in: ")[0] for each in unfounded(folder/"lesson.ipynb")]


def test_a_number_that_no_output_shows_is_found(tmp_path):
    assert found_in(tmp_path, "It knows 83.5 % of them.\n\nIt knows 84.5 % of 2,589 clips.") == ["84.5 %", "2,589"]


@pytest.mark.parametrize("name", [
    "([arXiv 1710.09412](https://arxiv.org/abs/1710.09412))", "<https://arxiv.org/abs/1710.09412>", "arXiv:1710.09412",
    "Python 3.11 or newer", "Python up to 3.12: take Python 3.11 or 3.12", "version 0.10.14, from 2017 on"])
def test_names_of_papers_and_versions_are_no_measurements(tmp_path, name):
    assert found_in(tmp_path, f"The name is {name}.") == []


def test_a_measurement_beside_a_paper_or_a_version_is_found(tmp_path):
    prose = "By arXiv 1710.09412, with Python 3.11, in 3.12 hours, 3.5 times as fast."
    assert found_in(tmp_path, prose) == ["3.12", "3.5"]


def test_a_calculation_in_prose_has_to_be_right(tmp_path):
    assert found_in(tmp_path, "There are 192 · 17 = 3,264 weights, and 1/0.8 = 1.25 of each.") == []
    assert found_in(tmp_path, "There are 192 · 17 = 3,265 weights, and 1/0.8 = 1.26 of each.") == ["3,265", "1.26"]
