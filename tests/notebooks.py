"""The notebooks as the tests see them: where they lie, in which order they are read, and what is in them."""
import re
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[1]
NBS = ROOT/"nbs"
WINGS = ("core", "data", "network", "evaluation", "training", "capture", "live")  # in the order a clip travels
NOTEBOOKS = sorted(path for path in NBS.rglob("*.ipynb")
                   if not any(part[0] in "._" for part in path.relative_to(NBS).parts))


def name_of(path):
    "`data/04_clips` for a notebook, the file's name for a text."
    return str(path.relative_to(NBS).with_suffix("")) if NBS in path.parents else path.name


def cells(path, kind="code"):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == kind]


def markdown(path):
    "The prose of a notebook, or of a text file."
    if path.suffix != ".ipynb": return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in cells(path, "markdown"))


def module_of(path):
    "The module a notebook exports to, such as `data.clips`, or None."
    found = re.search(r"#\| ?default_exp (\S+)", next((cell.source for cell in cells(path)), ""))
    return found and found[1]


def place(path):
    "What rooms are sorted by: the wing, then the number. The rooms on top, in no wing, come last."
    wing = path.parent.name
    return (WINGS.index(wing) if wing in WINGS else len(WINGS)), path.name


ROOMS = sorted((path for path in NOTEBOOKS if module_of(path)), key=place)


def sidebar():
    return yaml.safe_load((NBS/"sidebar.yml").read_text(encoding="utf-8"))


def course():
    "All notebooks in the order of the sidebar."
    def listed(contents):
        return [path for each in contents
                for path in (listed(each["contents"]) if isinstance(each, dict) else [NBS/each])]
    return listed(sidebar()["website"]["sidebar"]["contents"])


def core_path():
    "The notebooks a reader in a hurry takes, in their order."
    return [NBS/name for name in sidebar()["core_path"]]
