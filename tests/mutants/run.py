"""Put small semantic faults into the code, one at a time, and see that a lesson or a test notices each.

    python tests/mutants/run.py              all faults of tests/mutants/*.json, two at a time
    python tests/mutants/run.py temperature  those whose name contains a word

A fault is a replacement of text in an exported cell of a notebook, so that lesson and package have it alike. The usual
tools for Python (mutmut, cosmic-ray) change modules, which here are made from notebooks, and cannot run lessons; hence
this short list.
Ends with 1 if more than 5 % of the faults are noticed by nothing.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("nbs", "asl_nb", "tests", "docs", ".ci", "settings.ini", "setup.py", "README.md", "Makefile",
          "CONTRIBUTING.md", "CHANGELOG.md")


@dataclass(frozen=True)
class Mutant:
    name: str # what is wrong
    notebook: str # where, as a path from the root of the project
    old: str # text that stands exactly once in the exported cells
    new: str # what it becomes
    caught_by: tuple[str, ...] # lessons (paths) and tests (pytest's ids) that concern it

    def apply(self, root: Path) -> None:
        "Change the notebook below `root`; `SystemExit` if the text is not there exactly once."
        path = root/self.notebook
        book = nbformat.read(path, 4)
        cells = [cell for cell in book.cells if "#| export" in cell.source and self.old in cell.source]
        if len(cells) != 1 or cells[0].source.count(self.old) != 1:
            raise SystemExit(f"{self.name}: the text to replace is not exactly once in {self.notebook}: {self.old}")
        cells[0].source = cells[0].source.replace(self.old, self.new)
        compile(cells[0].source, self.name, "exec")
        nbformat.write(book, path)

    def noticed_by(self) -> str | None:
        "The first lesson or test that fails with the fault, tried in a copy of the project."
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            copy = Path(folder)
            for name in COPIED:
                ignored = shutil.ignore_patterns("__pycache__", "node_modules", "_build", "_src", ".ipynb_checkpoints")
                if (ROOT/name).is_dir(): shutil.copytree(ROOT/name, copy/name, ignore=ignored)
                elif (ROOT/name).exists(): shutil.copy(ROOT/name, copy)
            self.apply(copy)
            environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
            def run(*command: object) -> subprocess.CompletedProcess[str]:
                return subprocess.run([*map(str, command)], cwd=copy, env=environment, capture_output=True, text=True,
                                      timeout=1200)
            tools = Path(sys.executable).parent
            exported = run(tools/"nbdev_export")
            if exported.returncode: raise SystemExit(f"{self.name}: nbdev_export failed: {exported.stderr[-300:]}")
            for place in self.caught_by:
                if place.endswith(".ipynb"): done = run(tools/"nbdev_test", "--path", place, "--n_workers", "1")
                else: done = run(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", place)
                if done.returncode == 1: return place
                if done.returncode:
                    told = (done.stdout + done.stderr)[-300:]
                    raise SystemExit(f"{self.name}: {place} could not be run: {told}")
        return None


def read_mutants(words: list[str] | None = None) -> list[Mutant]:
    "All mutants of the lists beside this file, or those whose name contains one of the words."
    lists = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(__file__).parent.glob("*.json"))]
    listed = [Mutant(**{**each, "caught_by": tuple(each["caught_by"])}) for entries in lists for each in entries]
    return [each for each in listed if not words or any(word in each.name for word in words)]


def main(words: list[str]) -> int:
    mutants = read_mutants(words)
    survivors = []
    with ThreadPoolExecutor(2) as pool:
        for mutant, place in zip(mutants, pool.map(Mutant.noticed_by, mutants)):
            print(f"{'noticed by ' + place if place else 'NOT NOTICED':<60} {mutant.name}", flush=True)
            if place is None: survivors.append(mutant.name)
    print(f"{len(mutants)} faults, {len(survivors)} noticed by nothing")
    return int(len(survivors) > .05*len(mutants))


if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
