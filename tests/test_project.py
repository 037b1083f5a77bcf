"""The project around the notebooks: what workflows call exists, releases have notes, requirements are pinned."""
import re
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT/".github"/"workflows").glob("*.yml"))
if not WORKFLOWS: pytest.skip("no workflows beside the tests", allow_module_level=True)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_calls_what_exists(path):
    jobs = yaml.safe_load(path.read_text())["jobs"]
    commands = "\n".join(step.get("run", "") for job in jobs.values() for step in job["steps"])
    targets = set(re.findall(r"^([a-z-]+):", (ROOT/"Makefile").read_text(), re.M))
    assert set(re.findall(r"^ *make ([a-z-]+)", commands, re.M)) <= targets
    assert all((ROOT/script).is_file() for script in re.findall(r"\.ci/\w+", commands))
    assert all("timeout-minutes" in job or "needs" in job for job in jobs.values())


def release_notes(version):
    return subprocess.run(["sh", ROOT/".ci"/"release_notes", version], capture_output=True, text=True)


def test_release_notes_are_the_section_of_the_version():
    newest = re.search(r"^## (\S+)", (ROOT/"CHANGELOG.md").read_text(), re.M)[1]
    notes = release_notes(newest)
    assert notes.returncode == 0 and "\n- " in notes.stdout and "## " not in notes.stdout
    missing = release_notes("99.0")
    assert missing.returncode == 1 and "no section for 99.0" in missing.stderr


def test_every_requirement_is_pinned():
    settings = ConfigParser()
    settings.read(ROOT/"settings.ini", encoding="utf-8")
    plain = lambda name: re.sub(r"[-_.]+", "-", name).lower()
    pinned = {plain(line.split("==")[0]) for line in (ROOT/"constraints.txt").read_text().splitlines() if "==" in line}
    asked = {plain(re.match(r"[\w.-]+", each)[0]) for name,
             value in settings["DEFAULT"].items() if name.endswith("requirements") for each in value.split()}
    assert asked <= pinned


def test_the_model_in_the_box_is_small_and_has_its_papers():
    from asl_nb.evaluation.prediction import MODEL_IN_THE_BOX
    from asl_nb.training.card import model_card
    from asl_nb.training.manifest import manifest_beside
    manifest = manifest_beside(MODEL_IN_THE_BOX)
    assert MODEL_IN_THE_BOX.stat().st_size < 3_000_000
    assert manifest.final_results.cross_validation.signers == len(manifest.reproduction.participants["train"])
    card = MODEL_IN_THE_BOX.with_name(f"{MODEL_IN_THE_BOX.stem}_card.md").read_text(encoding="utf-8")
    assert card.startswith(model_card(manifest, "American Sign Language").split("## ")[0])
    assert "licences" in card and "asl-nb train" in card
