#!/usr/bin/env bash
# pose-format 0.15.0 puts OpenPose's hands into the face, where OpenPose was run without --face.
#
# OpenPose then writes "face_keypoints_2d": [] for every person. `load_openpose` still makes a header with a face of 70
# points, but joins the lists of a person as long as they are, and fills up at the end. So the points of the left hand
# come to lie in the first 21 places of the face, those of the right hand in the next 21, and both hands are empty.
# Nothing is raised or printed. Give the face 70 points of zeros, or read the files with something else.
#
# Fails if the points lie elsewhere.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "numpy==2.4.6" "pose-format==0.15.0"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from pose_format.utils.openpose import load_openpose


def points(count, place): return [number for _ in range(count) for number in (place, place, 1.)] # x, y, confidence


person = {"pose_keypoints_2d": points(25, 100.), "face_keypoints_2d": [],
          "hand_left_keypoints_2d": points(21, 200.), "hand_right_keypoints_2d": points(21, 300.)}
pose = load_openpose({0: {"people": [person]}}, fps=25, width=1000, height=1000)
x, first, found = pose.body.data[0, 0, :, 0].filled(np.nan), 0, {}
for component in pose.header.components:
    of_part = x[first:first + len(component.points)]
    found[component.name] = sorted(set(of_part[np.isfinite(of_part)].tolist()))
    print(f"{component.name:24} {len(component.points):2} points, x of those that are there: {found[component.name]}")
    first += len(component.points)
assert found == {"pose_keypoints_2d": [100.], "face_keypoints_2d": [200., 300.],
                 "hand_left_keypoints_2d": [], "hand_right_keypoints_2d": []}, found
PYTHON
