"""Make a collection of as many clips as asl-signs has, and measure a command: its time and its own memory.

    python nbs/_tools/scale.py make DIR 94477      write a collection in asl-signs layout
    python nbs/_tools/scale.py measure COMMAND …   run a command, then print seconds, processor seconds, peak of memory

The clips are those of synthetic signers, stretched to lengths of a log-normal distribution whose median is 22 frames
and whose mean is about 38. Four hundred of them are different; all others are further names (hard links) of these.
Memory is what the system calls anonymous: without files and shared memory, of all processes together.
"""
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

from asl_nb.data.clips import write_clip
from asl_nb.data.layout import SIGN_MAP, TABLE
from asl_nb.data.preparation import place_clip
from asl_nb.data.synthetic import LEXICON, Signer, perform

DIFFERENT, SIGNERS, SIGNS = 400, 21, 250
MEDIAN, SPREAD, SHORTEST, LONGEST = 22, 1.08, 2, 500


def lengths():
    "Frames of the different clips: the quantiles of their distribution."
    quantiles = NormalDist().inv_cdf
    found = [MEDIAN*np.exp(SPREAD*quantiles((number + .5)/DIFFERENT)) for number in range(DIFFERENT)]
    return np.clip(np.round(found), SHORTEST, LONGEST).astype(int)


def make(folder, clips):
    "Write the different clips, then a row and a hard link for each clip."
    rng, signs, rows = np.random.default_rng(0), list(LEXICON), []
    for number, length in enumerate(lengths()):
        signer = Signer.random((0, number % SIGNERS), "somebody")
        clip = perform(signs[number % len(signs)], signer, (0, number))
        stretched = clip[np.linspace(0, len(clip) - 1, length).round().astype(int)]
        write_clip(folder/f"different/{number}.parquet", stretched, picture=(640, 480))
    for number, place in enumerate(rng.integers(DIFFERENT, size=clips)):
        signer, sign = number % SIGNERS, number//SIGNERS % SIGNS
        path = f"train_landmark_files/{signer}/{number}.parquet"
        place_clip(folder/f"different/{place}.parquet", folder/path)
        rows.append((path, f"synthetic{signer:02d}", str(number), f"sign{sign:03d}"))
    table = pd.DataFrame(rows, columns=["path", "participant_id", "sequence_id", "sign"])
    table.to_csv(folder/TABLE, index=False)
    (folder/SIGN_MAP).write_text(json.dumps({f"sign{number:03d}": number for number in range(SIGNS)}))


def family(process):
    "A process and all that come from it."
    found = [process]
    for parent in found:
        for tasks in Path(f"/proc/{parent}/task").glob("*/children"): found += map(int, tasks.read_text().split())
    return found


def anonymous(process):
    "Bytes of memory that belong to a process alone."
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return sum(1024*int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def measure(command):
    "Run a command and say what it took."
    began, most = time.monotonic(), 0
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try: most = max(most, sum(map(anonymous, family(process.pid))))
            except (FileNotFoundError, ProcessLookupError): pass  # one of them has ended meanwhile
            time.sleep(.05)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{time.monotonic() - began:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of a processor, {most/1e6:.0f} MB")
    return process.returncode


if __name__ == "__main__":
    if sys.argv[1] == "make": make(Path(sys.argv[2]), int(sys.argv[3]))
    else: sys.exit(measure(sys.argv[2:]))
