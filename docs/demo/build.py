"""Make what the demonstration page shows, or a clip file for it.

    python docs/demo/build.py page [--model MODEL] [--out FOLDER]     a model (else the one in the box), spotter, clips
    python docs/demo/build.py clip RECORDING.parquet CLIP.json        a recording of your own for the page

Then, once: sh docs/vendor_demo.sh. Look at the page with: python -m http.server -d docs/demo
"""
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from asl_nb.core.errors import InputError
from asl_nb.core.files import atomic_write
from asl_nb.data.clips import read_clip
from asl_nb.data.landmarks import EDGES
from asl_nb.data.resampling import FPS, FrameResampler
from asl_nb.data.synthetic import Signer, perform
from asl_nb.evaluation.prediction import MODEL_IN_THE_BOX
from asl_nb.export import export_onnx, find_manifest_id
from asl_nb.live.recognizer import SegmentationConfig
from asl_nb.live.spotter import AFTER, ARM_LANDMARKS, BEFORE, HEAD_AND_SHOULDERS, UNSEEN, LearnedSpotter, read_spotter
from asl_nb.network.weights import load_model
from asl_nb.training.manifest import manifest_beside

HERE = Path(__file__).resolve().parent
# What can be made up; the page shows those that its model knows.
SIGNS = ("hello", "thankyou", "please", "sad", "hungry", "happy", "bye", "drink", "mom", "dad", "sleep", "blue",
         "yellow", "go", "sick")
IN_A_ROW = 4 # of them
SIGNER = 2026  # somebody whom no model was trained on
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Make what the demonstration page shows.")


def write_clip_json(
    path: Path,  # where to; replaced atomically
    clip: np.ndarray,  # `(T, 543, 3)`, NaN = not seen
    frames_per_second: float = 30,
) -> Path:
    "Write a clip as the page reads it: points `[x, y, z]`, or null where nothing was seen."
    rows = [[None if np.isnan(point).any() else [round(float(value), 5) for value in point] for point in frame]
            for frame in clip]
    content = {"format": "asl_nb clip 1", "frames_per_second": frames_per_second, "landmarks": rows}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, separators=(",", ":"), allow_nan=False), encoding="utf-8")
    return Path(path)


def synthetic_clips(
    signs: Sequence[str],
) -> Iterator[dict[str, Any]]:
    "A clip of each sign, then some of them one after the other; no model was trained on these signers."
    people = [Signer.random((SIGNER, number)) for number in range(3)]
    for number, sign in enumerate(signs):
        signer = people[number % 3]
        yield {"sign": sign, "clip": perform(sign, signer, (SIGNER, number)),
               "frames_per_second": signer.camera.frames_per_second}
    row = [perform(sign, people[1], (SIGNER, number)) for number, sign in enumerate(signs[:IN_A_ROW])]
    yield {"sign": f"{len(row)} signs in a row", "clip": np.concatenate(row), "frames_per_second": FPS, "stream": True}


def write_spotter(
    folder: Path,
) -> dict[str, Any]: # what spotter.js needs to know beside the weights
    "The weights of the package's spotter, one after the other as float32."
    weights = read_spotter(LearnedSpotter.shipped())
    parts = [weights[f"{kind}{layer}"] for layer in range(3) for kind in ("weight", "bias")]
    np.concatenate([part.ravel() for part in parts]).astype("<f4").tofile(folder/"spotter.f32")
    return {"sizes": [len(parts[0]), *(len(bias) for bias in parts[1::2])], "before": BEFORE, "after": AFTER,
            "unseen": UNSEEN, "arms": ARM_LANDMARKS.tolist(), "others": HEAD_AND_SHOULDERS.tolist()}


def origin_of(
    weights: Path,  # a model's `.pth` file
) -> str:  # nothing if there is no manifest
    "From whom a model has learnt, and how well it does for others."
    manifest = manifest_beside(weights)
    if not manifest: return ""
    people = f"The model has learnt from {len(manifest.reproduction.participants['train'])} people."
    if weights == MODEL_IN_THE_BOX: people += " Most are hearing learners; none is known to be Deaf."
    checked = manifest.final_results.cross_validation if manifest.final_results else None
    if not checked: return people
    return f"{people} Of clips by people whom it had not met it named {checked.by_signer:.0%} rightly."


def write_page_data(
    weights: Path,  # a model's `.pth` file
    out: Path,  # folder for the model, the spotter, the clips and demo.json; replaced
) -> Path:  # the folder
    "Export a model, and write clips by synthetic signers of those of its signs that can be made up."
    model, classes = load_model(weights)
    if out.exists() and not (out/"demo.json").exists() and any(out.iterdir()):
        raise InputError(f"{out}: holds something else; choose an empty folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".demo-") as place:
        folder, clips = Path(place)/"data", []
        export_onnx(model, classes, folder/"model.onnx", find_manifest_id(weights))
        known = [sign for sign in SIGNS if sign in classes]
        for number, each in enumerate(synthetic_clips(known) if known else ()):
            clip = each.pop("clip")
            clip.astype("<f4").tofile(folder/f"clip{number}.f32")
            clips.append({**each, "file": f"clip{number}.f32", "frames": len(clip)})
        segmentation = {**asdict(SegmentationConfig()), "longest_gap": FrameResampler().longest_gap}
        content = {"model": weights.stem, "origin": origin_of(weights), "frames_per_second": FPS,
                   "spotter": write_spotter(folder), "segmentation": segmentation, "clips": clips,
                   "edges": {part: edges.tolist() for part, edges in EDGES.items()}}
        (folder/"demo.json").write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
        if out.exists(): shutil.rmtree(out)
        folder.rename(out)
    return out


def named(action, *values):
    "Say what a user can mend in one line."
    try: return action(*values)
    except InputError as error:
        typer.echo(f"build.py: {error}", err=True)
        raise typer.Exit(2) from None


@app.command("page")
def page_command(
    model: Annotated[Path, typer.Option(help="the .pth file of a training run")] = MODEL_IN_THE_BOX,
    out: Annotated[Path, typer.Option(help="folder to make")] = HERE/"data",
):
    "The model, the spotter, some clips and demo.json."
    typer.echo(f"the page's data is in {named(write_page_data, model, out)}")


@app.command("clip")
def clip_command(
    recording: Annotated[Path, typer.Argument(help="a parquet file in asl-signs format")],
    out: Annotated[Path, typer.Argument(help="the JSON file to write")],
    frames_per_second: Annotated[float, typer.Option(help="for playing")] = 30,
):
    "A recording of your own for the page."
    typer.echo(f"written: {named(lambda: write_clip_json(out, read_clip(recording), frames_per_second))}")


if __name__ == "__main__": app()
