"""The notebooks read as a course: one chain from the first room to the last page, and commands that exist."""
import os
import re
import textwrap

import nbformat
import pytest
import typer

from asl_nb.cli import app, full_command
from notebooks import NOTEBOOKS, ROOMS, ROOT, core_path, course, markdown, name_of

COMMANDS = {name: full_command(name) for name in typer.main.get_command(app).commands}
TEXTS = NOTEBOOKS + [path for path in (ROOT/"README.md", ROOT/"CONTRIBUTING.md") if path.exists()]


def next_of(path):
    "Where the last `Next:` of a notebook leads, or None."
    found = re.findall(r"^Next: .*?\]\(([^)#]+)", markdown(path), re.M)
    return (path.parent/found[-1]).resolve() if found else None


def solutions(path):
    "The Python in the exercises of a notebook."
    exercises = markdown(path).rpartition("## Exercises")[2]
    return [textwrap.dedent(code)
            for code in re.findall(r"^ *```python\n(.*?)^ *```", exercises,
                                   re.M | re.S)] if "<details>" in exercises else []


def test_the_course_has_every_notebook_once_and_rooms_by_wing_and_number():
    order = course()
    assert sorted(order) == NOTEBOOKS
    rooms = sorted(ROOMS, key=lambda path: path.parent.name == "core") # what every wing builds on is read last
    assert [name_of(path) for path in order if path in ROOMS] == [name_of(path) for path in rooms]


def test_the_core_path_is_about_twelve_notebooks_in_the_order_of_the_course():
    path, order = core_path(), course()
    assert 10 <= len(path) <= 14 and len(path) == len(set(path))
    assert [name_of(each) for each in path if each not in order] == []
    assert path == sorted(path, key=order.index)


@pytest.mark.parametrize("path, following", list(zip(course()[1:], course()[2:])), ids=name_of)
def test_next_link_leads_on(path, following):
    wanted = os.path.relpath(following, path.parent)
    assert next_of(path) == following, f"{name_of(path)} should end with: Next: […]({wanted})"


@pytest.mark.parametrize("path", ROOMS, ids=name_of)
def test_room_ends_with_exercises(path):
    last = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"][-1]
    asked, _, answers = last.rpartition("## Exercises")[2].partition("<details>")
    questions = re.findall(r"^\d\. ", asked, re.M)
    assert "## Exercises" in last and 2 <= len(questions) <= 4 and "</details>" in answers
    assert len(re.findall(r"^\d\. ", answers, re.M)) == len(questions), "each exercise has a solution"


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if solutions(path)], ids=name_of)
def test_solutions_run(path):
    names = {}
    for number, code in enumerate(solutions(path), 1):
        exec(compile(code, f"{path.stem}, solution {number}", "exec"), names)


def commands_in(text):
    "The command and the options of every `asl-nb …` in fenced blocks and in backticks."
    fenced = re.findall(r"^[ >]*```(?:bash|sh)\n(.*?)```", text, re.M | re.S)
    inline = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    lines = [line for block in fenced for line in block.replace("\\\n", " ").splitlines()] + inline
    for line in lines:
        for command, rest in re.findall(r"(?:^|[\s/])asl-nb ([a-z][\w-]*)((?:(?! [|#&]).)*)", line):
            yield command, re.findall(r"(?<!\S)--[a-z][\w-]*", rest)


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_commands_in_the_prose_exist(path):
    for command, options in commands_in(markdown(path)):
        assert command in COMMANDS, f"there is no asl-nb {command}"
        known = {name for option in COMMANDS[command].params
                 for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        assert set(options) <= known, f"asl-nb {command} has no {sorted(set(options) - known)}"


def test_an_invented_command_would_be_found():
    text = "Try `asl-nb trian --data DIR`, or\n\n```bash\n.venv/bin/asl-nb train --dta DIR | tee log\n```\n"
    assert list(commands_in(text)) == [("train", ["--dta"]), ("trian", ["--data"])]


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_make_targets_in_the_prose_exist(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT/"Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", markdown(path), re.M)) <= targets


def test_every_page_is_named_on_the_first():
    "So that nobody has to know of a room to find it."
    text = (ROOT/"README.md").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT).as_posix() for path in NOTEBOOKS if path.stem != "index"]
    assert len(pages) > 60 and [page for page in pages if f"({page})" not in text] == []
