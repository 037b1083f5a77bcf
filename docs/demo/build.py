"""Make what the demonstration page shows, or a clip file for it.

    python docs/demo/build.py page [--model MODEL] [--out FOLDER]     the model, some clips and demo.json
    python docs/demo/build.py clip RECORDING.parquet CLIP.json        a recording of your own for the page

Then, once: sh docs/vendor_demo.sh. Look at the page with: python -m http.server -d docs/demo
"""
import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from asl_nb.core.errors import InputError
from asl_nb.core.files import atomic_write
from asl_nb.data.clips import read_clip
from asl_nb.data.landmarks import EDGES
from asl_nb.data.synthetic import LEXICON, Signer, perform
from asl_nb.export import export_onnx, find_manifest_id
from asl_nb.network.weights import load_model
from asl_nb.training.configuration import TrainingConfig
from asl_nb.training.trainer import train

HERE = Path(__file__).resolve().parent
SIGNS = ("hello", "thankyou", "please", "drink", "mom", "dad", "sleep", "bye", "blue", "yellow", "go", "sick")
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


def write_page_data(
    weights: Path,  # a model's `.pth` file
    out: Path,  # folder for the model, the clips and demo.json; replaced
) -> Path:  # the folder
    "Export a model and write a clip by a synthetic signer for each of its signs that can be made up."
    model, classes = load_model(weights)
    if out.exists() and not (out/"demo.json").exists() and any(out.iterdir()):
        raise InputError(f"{out}: holds something else; choose an empty folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".demo-") as place:
        folder, clips = Path(place)/"data", []
        export_onnx(model, classes, folder/"model.onnx", find_manifest_id(weights))
        for number, sign in enumerate(sign for sign in SIGNS if sign in classes and sign in LEXICON):
            signer = Signer.random((SIGNER, number % 3))
            clip = perform(sign, signer, (SIGNER, number))
            clip.astype("<f4").tofile(folder/f"clip{number}.f32")
            clips.append({"sign": sign, "file": f"clip{number}.f32", "frames": len(clip),
                          "frames_per_second": signer.camera.frames_per_second})
        content = {"clips": clips, "edges": {part: edges.tolist() for part, edges in EDGES.items()}}
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
    model: Annotated[Path | None, typer.Option(
        help="the .pth file of a training run; none: one is trained on synthetic signers, a minute or two")] = None,
    out: Annotated[Path, typer.Option(help="folder to make")] = HERE/"data",
    epochs: Annotated[int, typer.Option(help="of that training", min=1)] = 25,
):
    "The model, some clips and demo.json."
    with tempfile.TemporaryDirectory() as folder:
        if model is None:
            config = TrainingConfig(recipe="best", signs=",".join(SIGNS), epochs=epochs, epoch_steps=1,
                                    synthetic_signers=10, ema_decay=.95, out=folder)
            model = named(lambda: train(config, report=typer.echo).files.weights)
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
