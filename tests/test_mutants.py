"""The list of faults for `make mutants` fits the code: each can be put in, and those who should notice it exist."""
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/"tests"/"mutants"))
from run import Mutant, read_mutants  # noqa: E402


@pytest.mark.parametrize("mutant", read_mutants(), ids=lambda mutant: mutant.name)
def test_the_fault_can_be_put_in(mutant, tmp_path):
    copy = tmp_path/mutant.notebook
    copy.parent.mkdir(parents=True)
    shutil.copy(ROOT/mutant.notebook, copy)
    before = copy.read_text()
    mutant.apply(tmp_path)
    assert copy.read_text() != before and mutant.caught_by
    for place in mutant.caught_by:
        file, _, test = place.partition("::")
        assert (ROOT/file).is_file(), place
        assert not test or f"def {test.partition('[')[0]}(" in (ROOT/file).read_text(), place


def test_no_fault_is_listed_twice():
    names = [mutant.name for mutant in read_mutants()]
    assert len(names) == len(set(names))


def test_a_list_that_has_gone_stale_is_found(tmp_path):
    book = "nbs/network/01_masking.ipynb"
    (tmp_path/book).parent.mkdir(parents=True)
    shutil.copy(ROOT/book, tmp_path/book)
    with pytest.raises(SystemExit, match="not exactly once"):
        Mutant("gone", book, "text that is gone", "", ()).apply(tmp_path)
