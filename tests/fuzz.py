"""Damage good files of every kind at random, and see that each is refused in one line or read right.

    python tests/fuzz.py                 1,000 files, the same ones every time
    python tests/fuzz.py --files 5000 --seed 7 --kind weights

Each file is read in a process of its own with limits of time and memory. Ends with 1 if anything else happens than an
`InputError` of one line or a right answer. Coverage-guided fuzzers for Python (atheris) find more in parsers written in
C; those here belong to other projects, which run such fuzzers, and what is ours shows with files that know the formats.
"""
import argparse
import os
import random
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ASL_NB_CACHE", tempfile.mkdtemp(prefix="asl_nb-fuzz-"))

from hostile import KINDS, lacking, read_in_limits  # noqa: E402  # after the number of threads is set

for name in ("capture.extraction", "cli", "live.spotter", "training.card", "training.trainer"):
    import_module(f"asl_nb.{name}")  # once, and not in every process

COSTS = {"checkpoint": .4, "record of an extraction": .6}  # of a kind's share: these are slow to make or to read


def plan(files, kinds):
    "How many files of each kind."
    weights = {kind: COSTS.get(kind, 1.) for kind in kinds}
    return {kind: max(round(files*weight/sum(weights.values())), 1) for kind, weight in weights.items()}


def fuzz(kind, count, seed, folder):
    "Outcomes of damaged files of one kind; the first is a good file."
    one, source = KINDS[kind], folder/"good"
    source.mkdir(parents=True)
    good = one.make(source)
    for number in range(count + 1):
        place = folder/"damaged"
        shutil.copytree(source, place)
        path = place/good.relative_to(source)
        done = one.mutate(path, random.Random(f"{seed} {kind} {number}")) if number else "nothing"
        yield number, done, read_in_limits(kind, path)
        shutil.rmtree(place)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS)
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if options.kind in (None, kind) and not lacking(kind)]
    for kind in KINDS:
        if lacking(kind): print(f"{kind}: skipped, {lacking(kind)} is not installed")
    counts, worst, bad = defaultdict(Counter), defaultdict(float), []
    for kind, count in plan(options.files, kinds).items():
        with tempfile.TemporaryDirectory() as folder:
            for number, done, outcome in fuzz(kind, count, options.seed, Path(folder)):
                right = outcome.kind == "right" if not number else outcome.kind in ("right", "refused")
                counts[kind][outcome.kind if right else "else"] += bool(number or not right)
                worst[kind, "s"] = max(worst[kind, "s"], outcome.seconds)
                worst[kind, "MB"] = max(worst[kind, "MB"], outcome.memory/1e6)
                if not right: bad.append(f"{kind} {number} ({done}): {outcome.kind}\n{outcome.detail}")
        row = counts[kind]
        print(f"{kind:<24}{sum(row.values()):>6} files {row['refused']:>6} refused {row['right']:>6} right "
              f"{row['else']:>4} else   worst {worst[kind, 's']:>5.1f} s {worst[kind, 'MB']:>6.0f} MB", flush=True)
    total = sum(counts.values(), Counter())
    print(f"{'all':<24}{sum(total.values()):>6} files {total['refused']:>6} refused {total['right']:>6} right "
          f"{total['else']:>4} else")
    for each in bad: print("\n" + each)
    sys.exit(bool(bad))


if __name__ == "__main__": main()
