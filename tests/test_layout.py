"""Wings and rooms import downwards only, and a model is loaded without libraries for drawing or tables."""
import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# from the lowest to the highest
WINGS = ("core", "data", "network", "evaluation", "training", "capture", "live", "references", "export", "benchmark",
         "cli")
HEAVY = ("matplotlib", "IPython", "ipywidgets", "pyarrow", "tqdm", "pandas")
MODULES = {".".join(path.relative_to(ROOT/"asl_nb").with_suffix("").parts): path
           for path in sorted((ROOT/"asl_nb").rglob("*.py")) if path.stem[0] != "_"}


def rooms():
    "The number of every module's notebook."
    found = {}
    for path in (ROOT/"nbs").rglob("[0-9]*.ipynb"):
        if exported := re.search(r"#\| ?default_exp (\S+?)[\\\"]", path.read_text(encoding="utf-8")):
            found[exported[1]] = int(path.name.split("_")[0])
    return found


def imported_by(module, source):
    "The modules of the project that a module's source imports, at its top or inside a function."
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name.removeprefix("asl_nb.") for name in node.names if name.name.startswith("asl_nb."))
        if not isinstance(node, ast.ImportFrom): continue
        package = ["asl_nb", *module.split(".")][:-node.level] if node.level else []
        full = ".".join([*package, *filter(None, [node.module])])
        if full != "asl_nb" and not full.startswith("asl_nb."): continue
        inside = full.removeprefix("asl_nb").lstrip(".")
        if inside in MODULES: yield inside
        else:
            names = (name.name for name in node.names if name.name != "__version__")
            yield from (f"{inside}.{name}" if inside else name for name in names)


def wrong_arrow(importer, imported, numbers):
    "What is wrong with this import, or None."
    wings = [module.split(".")[0] for module in (importer, imported)]
    for module, wing in zip((importer, imported), wings):
        if wing not in WINGS: return f"{module} belongs to no wing"
    if wings[0] != wings[1]: wrong = WINGS.index(wings[1]) > WINGS.index(wings[0])
    else: wrong = numbers[imported] >= numbers[importer]
    return f"{importer} → {imported}" if wrong else None


def imports():
    sources = {module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}
    return [(module, other) for module, source in sources.items() for other in imported_by(module, source)]


def test_imports_run_down_the_wings_and_down_the_rooms():
    numbers = rooms()
    wrong = {arrow for pair in imports() if (arrow := wrong_arrow(*pair, numbers))}
    assert not wrong, "imports that run upwards: " + "; ".join(sorted(wrong))


def test_every_module_is_a_numbered_room_and_no_number_is_taken_twice():
    numbers = rooms()
    assert set(numbers) >= set(MODULES)
    places = [(module.split(".")[0] if "." in module else "", number) for module, number in numbers.items()]
    assert sorted(places) == sorted(set(places))


def test_there_are_no_circles():
    below = {module: set() for module in MODULES}
    for module, other in imports(): below[module].add(other)
    while free := [module for module in below if not below[module] & set(below)]:
        for module in free: del below[module]
    assert not below, f"these import each other in a circle, or a module that is in one: {', '.join(below)}"


NUMBERS = {"data.landmarks": 1, "data.clips": 4, "network.model": 9, "cli": 92, "benchmark": 91}


@pytest.mark.parametrize("importer, source, arrows", [
    ("data.clips", "from .landmarks import PARTS", []),
    ("cli", "from .benchmark import measure\nfrom asl_nb.data.clips import read_clip", []),
    ("data.landmarks", "from .clips import read_clip", ["data.landmarks → data.clips"]),
    ("data.clips", "from ..network.model import ASLModel", ["data.clips → network.model"]),
    ("data.clips", "def late():\n    from asl_nb.network import model", ["data.clips → network.model"]),
    ("network.model", "import asl_nb.cli", ["network.model → cli"]),
    ("network.model", "from .. import cli", ["network.model → cli"]),
    ("benchmark", "from .cli import app", ["benchmark → cli"]),
    ("data.clips", "from ..attic.trunk import things", ["attic.trunk.things belongs to no wing"]),
])
def test_an_invented_import_would_be_found(importer, source, arrows):
    found = [wrong_arrow(importer, other, NUMBERS) for other in imported_by(importer, source)]
    assert [arrow for arrow in found if arrow] == arrows


def loaded_by(statement):
    "Which of the heavy libraries a fresh interpreter has loaded after a statement."
    code = f"{statement}\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_importing_the_model_loads_no_heavy_library():
    "PyTorch itself brings tqdm; what it brings does not count."
    ours = loaded_by("import asl_nb.network.model") - loaded_by("import torch")
    assert not ours, f"`import asl_nb.network.model` loads {', '.join(sorted(ours))}; see python -X importtime"


def test_the_core_and_the_landmarks_are_light():
    light = [module for module in MODULES if module in ("core.errors", "core.files", "core.progress", "data.landmarks")]
    found = loaded_by("import " + ", ".join(f"asl_nb.{module}" for module in light))
    assert len(light) == 4 and not found, f"{', '.join(light)} load {', '.join(sorted(found))}"


def test_a_heavy_import_would_be_found():
    assert "pandas" in loaded_by("import pandas")
