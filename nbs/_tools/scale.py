"""Make a collection of as many clips as asl-signs has, and measure what the commands need for it.

    python nbs/_tools/scale.py make DIR 94477      write a collection in asl-signs layout
    python nbs/_tools/scale.py start DIR           train one step, and print how long that took from the start of Python
    python nbs/_tools/scale.py processes DIR OUT   the same steps by one process and by two, a core each: a table
    python nbs/_tools/scale.py series DIR 94477    make, pack, inspect, train, evaluate, kill and resume: a table;
                                                   names at the end (pack inspect …) do only these

The clips are those of synthetic signers, stretched to lengths of a log-normal distribution whose median is 22 frames
and whose mean is about 39. Four hundred of them are different; all others are further names (hard links) of these.
Memory is what the system calls anonymous: without files and shared memory, of all processes together.
"""
import json
import os
import resource
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import psutil

from asl_nb.data.clips import write_clip
from asl_nb.data.layout import SIGN_MAP, TABLE
from asl_nb.data.preparation import place_clip
from asl_nb.data.synthetic import LEXICON, Signer, perform

DIFFERENT, SIGNERS, SIGNS = 400, 21, 250
MEDIAN, SPREAD, SHORTEST, LONGEST = 22, 1.08, 2, 500
ENOUGH = ("--clips-per-sign", 26, "--epoch-steps", 200)  # two hundred steps, however many clips there are
FEW = ("--clips-per-sign", 4, "--epoch-steps", 30)


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
    frames = lengths()
    print(f"{clips:,} clips; frames: median {np.median(frames):.0f}, mean {frames.mean():.1f}, at most {frames.max()}")
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


def measure(*words, until=None):
    "Run a command, or kill it (-9) as soon as something is true: seconds, processor seconds and megabytes at most."
    began, before, most = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN), 0
    process = subprocess.Popen([sys.executable, *map(str, words)], stdout=sys.stderr)
    while process.poll() is None:
        try: most = max(most, sum(map(anonymous, family(process.pid))))
        except (FileNotFoundError, ProcessLookupError): pass  # one of them has ended meanwhile
        if until and until(): process.kill()
        time.sleep(.05)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(time.monotonic() - began, 1), round(used, 1), round(most/1e6)


def series(folder, clips, names):
    "Measure one command after the other, and print a row of a table for each; of some names, only these."
    plain, packed, out, by_frames, again = [folder/f"{name}{clips}"
                                            for name in ("plain", "packed", "run", "by_frames", "again")]
    train = ["-m", "asl_nb", "train", "--data", packed, "--test-share", ".05", "--device", "cpu", "--epochs"]
    run, rerun = [*train, 1, *ENOUGH, "--out", out], [*train, 2, *FEW, "--out", again]
    commands = {"make": [__file__, "make", plain, clips], "pack": ["-m", "asl_nb", "pack", plain, packed],
                "inspect": ["-m", "asl_nb", "inspect", packed], "start": [__file__, "start", packed], "train": run,
                "train by frames": [*train, 1, *ENOUGH, "--frame-budget", 2000, "--out", by_frames],
                "evaluate": ["-m", "asl_nb", "evaluate", out, "--data", packed, "--participants", "synthetic00"],
                "killed": rerun, "resume": ["-m", "asl_nb", "train", "--resume", again]}
    print("command,clips,seconds,processor,megabytes", flush=True)
    for name in names or commands:
        words = commands[name]
        if name == "evaluate": words[3] = next(out.glob("*.pth"))
        until = (lambda: any(again.glob("*_checkpoint_*.pt"))) if name == "killed" else None
        print(name, clips, *measure(*words, until=until), sep=",", flush=True)


def start(folder):
    "Load a collection, train one step as `asl-nb train --data DIR --device cpu` does, and say how long all of it took."
    from asl_nb.training.configuration import config_from
    from asl_nb.training.engine import Engine
    from asl_nb.training.loop import train_epoch
    from asl_nb.training.manifest import run_files
    from asl_nb.training.trainer import Interrupted, Trainer, batch_transform, describe_splits, load_data, make_loaders
    def stop(result): raise Interrupted(15)
    config = config_from({"data": folder, "recipe": "best", "device": "cpu"}, "scale.py")
    engine, splits = Engine(config.device, max_grad_norm=config.max_grad_norm), load_data(config)
    describe_splits(splits)
    trainer = Trainer(config, splits, engine, run_files(folder, "asl_model_v20260101_000000"), None)
    loader, transform = make_loaders(config, splits, engine)[0], batch_transform(config, 0, len(splits.train.classes))
    try: train_epoch(trainer.wrapped, loader, trainer.criterion, trainer.optimizer, engine.device, 0, engine,
                     transform=transform, on_step=stop)
    except Interrupted: pass
    seconds = time.time() - psutil.Process().create_time()
    used = time.process_time()
    print(f"{seconds:.1f} s, {used:.1f} s of a processor until the first of {len(loader)} steps was done")


def processes(folder, out):
    "A hundred steps by one process, and by two that share the clips of each step: the seconds of the training itself."
    from asl_nb.training.manifest import read_manifest
    print("clips,processes,seconds", flush=True)
    for clips, count in product((32, 128), (1, 2)):
        run = out/f"processes{count}_clips{clips}"
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", count, "-m", "asl_nb", "train",
                 "--data", folder, "--device", "cpu", "--epochs", 1, "--epoch-steps", 100, "--batch-size", clips//count]
        subprocess.run([sys.executable, *map(str, [*words, "--out", run])], stdout=sys.stderr, check=True,
                       env={**os.environ, "OMP_NUM_THREADS": "1"})
        results = read_manifest(next(run.glob("*_final_manifest.json"))).final_results
        print(clips, count, results.seconds, sep=",", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "make": make(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "start": start(sys.argv[2])
    elif sys.argv[1] == "processes": processes(Path(sys.argv[2]), Path(sys.argv[3]))
    else: series(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
