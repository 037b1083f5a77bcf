"""Write the moving figure of the front page: a few signs by a synthetic signer, as lines between points.

    python docs/signer.py docs/_static/signer.json
"""
import json
import sys
from pathlib import Path

import numpy as np

from asl_nb.core.files import atomic_write
from asl_nb.data.landmarks import EDGES
from asl_nb.data.synthetic import Signer, perform

SIGNS, SEED, GRID = ("hello", "please", "thankyou"), (7, 0), 400


def main(path):
    signer, edges = Signer.random(SEED), [edge for part in EDGES.values() for edge in part.tolist()]
    used = sorted({point for edge in edges for point in edge})
    number = {point: place for place, point in enumerate(used)}
    clips = []
    for place, sign in enumerate(SIGNS):
        clip = (perform(sign, signer, (*SEED, place))[:, used, :2] - [.15, 0])/[.7, 1]  # the middle of the picture
        frames = [[None if np.isnan(point).any() else [round(float(value)*GRID) for value in point]
                   for point in frame] for frame in clip]
        clips.append({"sign": sign, "frames": frames, "frames_per_second": signer.camera.frames_per_second})
    content = {"grid": GRID, "edges": [[number[a], number[b]] for a, b in edges], "clips": clips}
    with atomic_write(Path(path)) as temporary:
        temporary.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")


if __name__ == "__main__": main(sys.argv[1])
