"""The notebooks are the source: they are clean, in step with the package, and written as CONTRIBUTING.md asks."""
import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from notebooks import NBS, NOTEBOOKS, ROOMS, ROOT, WINGS, cells, module_of, name_of

HANDWRITTEN = ("__init__.py", "__main__.py")  # written by nbdev, and the two lines behind `python -m asl_nb`


def code_lines(source):
    return [line for line in source.splitlines() if line.strip() and not line.startswith("#|")]


def parse(source):
    "The cell's statements, without IPython magics."
    return ast.parse("\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))).body


by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
by_room = pytest.mark.parametrize("path", ROOMS, ids=name_of)


def imports_of(source):
    "The modules of asl_nb that a cell imports, at its top or inside a function: `data.clips`."
    names = set()
    for node in (node for statement in parse(source) for node in ast.walk(statement)):
        if isinstance(node, ast.ImportFrom) and node.module == "asl_nb": names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.removeprefix("asl_nb.") if node.module.startswith("asl_nb.") else "")
        elif isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("asl_nb.") for alias in node.names if alias.name.startswith("asl_nb.")}
    return names - {"", "__version__"}


@pytest.fixture(scope="module")
def processed(tmp_path_factory):
    "A copy of the project after `nbdev_clean` and `nbdev_export`."
    copy = tmp_path_factory.mktemp("copy")
    for name in ("nbs", "asl_nb"):
        shutil.copytree(ROOT/name, copy/name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("settings.ini", "setup.py", "README.md"): shutil.copy(ROOT/name, copy)
    for path in (copy/"asl_nb").rglob("*.py"):
        if path.name not in HANDWRITTEN: path.unlink()
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    for tool in ("nbdev_clean", "nbdev_export"):
        subprocess.run([Path(sys.executable).parent/tool], cwd=copy, check=True, env=environment)
    return copy


def modules(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in (folder/"asl_nb").rglob("*.py")}


def test_the_package_is_what_the_notebooks_export(processed):
    made, here = modules(processed), modules(ROOT)
    assert sorted(here) == sorted(made), "a module without a notebook, or the reverse; run `make notebooks`"
    assert [name for name in here if here[name] != made[name]] == [], "run `nbdev_export`"


@by_name
def test_notebook_is_clean(path, processed):
    assert path.read_text() == (processed/path.relative_to(ROOT)).read_text(), "run `nbdev_clean`"


def test_every_module_has_exactly_one_notebook():
    modules = [module_of(path) for path in ROOMS]
    assert len(modules) == len(set(modules)), "two notebooks export to one module; the second would overwrite the first"


@by_room
def test_module_is_named_after_wing_and_room(path):
    wing = [] if path.parent == NBS else [path.parent.name]
    assert not wing or wing[0] in WINGS, f"{wing[0]} is no wing"
    assert re.fullmatch(r"\d\d_[a-z_]+", path.stem), "a room is named NN_name"
    assert module_of(path) == ".".join([*wing, path.stem[3:]])


def test_numbers_are_given_once():
    numbers = [f"{path.parent.name}/{path.stem[:2]}" for path in ROOMS]
    assert sorted({number for number in numbers if numbers.count(number) > 1}) == []


@by_room
def test_room_imports_only_from_rooms_before_it(path):
    order = [module_of(room) for room in ROOMS]
    before = set(order[:order.index(module_of(path))])
    source = [cell.source for cell in cells(path) if "#| export" in cell.source]
    imported = set().union(*map(imports_of, source))
    assert sorted(imported - before) == []


def test_an_import_that_runs_up_would_be_found():
    source = "from asl_nb.data.clips import Clip\nimport numpy as np\nfrom pathlib import Path"
    assert imports_of(source) == {"data.clips"}
    assert imports_of("def train():\n    from asl_nb import cli\n    import asl_nb.live.app") == {"cli", "live.app"}


@by_name
def test_outputs_are_fit_to_publish(path):
    assert "widgets" not in nbformat.read(path, 4).metadata, "the state of widgets; run nbs/_tools/renew.py"
    for cell in cells(path):
        outputs = json.dumps(cell.outputs)
        assert len(outputs) < 100_000, f"over 100 kB of output: {cell.source[:60]}"
        assert not any(output.output_type == "error" for output in cell.outputs), cell.source[:60]
        assert not re.search(r"/(home|root|Users|work)/",
                             outputs), f"a private path in the output of: {cell.source[:60]}"


@by_name
def test_widgets_leave_a_picture_and_no_state(path):
    assert "widgets" not in nbformat.read(path, 4).metadata, "run nbs/_tools/renew.py; widgets need their kernel"
    for cell in cells(path):
        for data in (output.get("data", {}) for output in cell.outputs):
            camera = "RecorderWidget" in data.get("text/plain", "")  # has no picture
            if "application/vnd.jupyter.widget-view+json" not in data or camera: continue
            assert any(kind.startswith("image/")
                       for kind in data), f"nothing to see without a kernel: {cell.source[:60]}; show `Controls`"


@by_room
def test_room_is_written_as_a_lesson(path):
    title = cells(path, "markdown")[0].source
    assert title.startswith("# ") and "\n> " in title, "the first cell is a title and a one-sentence summary"
    prose = sum(len(cell.source.split()) for cell in cells(path, "markdown"))
    code = sum(len(code_lines(cell.source)) for cell in cells(path))
    assert prose >= 2*code, f"{prose} words of prose for {code} lines of code"
    outputs = json.dumps([cell.outputs for cell in cells(path)])
    assert "image/png" in outputs or "image/gif" in outputs, "no picture"
    assert any("expect_fail" in cell.source or "mistakes" in cell.source for cell in cells(path)), "no error case"


@by_room
def test_cells_are_short_and_imports_stand_alone(path):
    for cell in cells(path):
        lines = code_lines(cell.source)
        if "#| export" in cell.source: assert len(lines) <= 40, f"{len(lines)} lines: {cell.source[:60]}"
        body = parse(cell.source)
        imports = [isinstance(statement, (ast.Import, ast.ImportFrom)) for statement in body]
        if any(imports) and "nbdev_export" not in cell.source:
            assert all(imports), f"imports mixed with code: {cell.source[:60]}"
        if body and isinstance(body[-1], ast.Expr) and isinstance(call := body[-1].value, ast.Call):
            assert getattr(call.func, "id", "") != "print", f"ends in print: {cell.source[:60]}"


CODE = sorted(path for folder in ("tests", "docs", "nbs/_tools") for path in (ROOT/folder).rglob("*.py")
              if not {"node_modules", "_src", "_build", "vendor"} & set(path.parts))


@pytest.mark.parametrize("path", NOTEBOOKS + CODE, ids=lambda path: str(path.relative_to(ROOT).with_suffix("")))
def test_lines_are_at_most_120_columns(path):
    sources = [cell.source for cell in cells(path)] if path.suffix == ".ipynb" else [path.read_text(encoding="utf-8")]
    assert [line for source in sources for line in source.splitlines() if len(line) > 120] == []


def test_only_the_command_line_imports_the_benchmark():
    importing = {module_of(path) for path in ROOMS for cell in cells(path)
                 if "#| export" in cell.source and "benchmark" in imports_of(cell.source)}
    assert importing == {"cli"}
