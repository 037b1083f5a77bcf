#!/usr/bin/env bash
# pose-format 0.15.0 moves depth into the middle of the picture, too, when it gives a pose a size.
#
# `normalize_pose_size` is what the library offers to make a normalised pose drawable: x and y lie around 0 before, and
# within the picture afterwards. It adds the same number to z. So the depth of a hand, which MediaPipe measures from the
# hand's own wrist (0 there), is half the width everywhere: 256 for the usual width of 512. The file that comes out says
# nothing of it, and whoever takes z for MediaPipe's sees hands far behind the body. Recognise it by the wrist's z,
# which should be near 0, and subtract it.
#
# Fails if z stays.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "numpy==2.4.6" "pose-format==0.15.0"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from pose_format import Pose, PoseHeader
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeaderComponent, PoseHeaderDimensions
from pose_format.utils.generic import normalize_pose_size

hand = PoseHeaderComponent("RIGHT_HAND_LANDMARKS", ["WRIST"], [], [(0, 0, 0)], "XYZC")
header = PoseHeader(0.2, PoseHeaderDimensions(width=1, height=1, depth=1), [hand])
body = NumPyPoseBody(fps=25, data=np.zeros((3, 1, 1, 3), np.float32), confidence=np.ones((3, 1, 1), np.float32))
pose = Pose(header, body)  # a wrist in the middle of a normalised pose, at depth 0
normalize_pose_size(pose)
x, y, z = np.asarray(pose.body.data[0, 0, 0], float)
print(f"picture {pose.header.dimensions.width} wide; wrist: x {x:g}, y {y:g}, z {z:g}")
assert (pose.header.dimensions.width, x, y, z) == (512, 256, 256, 256)
PYTHON
