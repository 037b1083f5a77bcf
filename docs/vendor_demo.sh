#!/bin/sh
# Fetch what docs/demo needs to run models in the browser, from npm, into docs/demo/vendor (58 MB, not committed):
# onnxruntime-web for the recogniser; @mediapipe/holistic, which holds the landmark models of MediaPipe's package for Python, for camera and
# videos; @mediapipe/tasks-vision for those who open a .task file. The page loads the last two only when they are wanted.
# Versions are pinned because of privacy, too: this holistic asks no host for anything; tasks-vision 1.1.0 wants to report to Google, which
# the content security policy of docs/demo/index.html forbids. Before another version comes in: tests/test_demo_page.py, and look what it asks for.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/npm.sh"
fetch onnxruntime-web 1.30.0 d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71 "$here/demo/vendor" \
  dist/ort.wasm.min.mjs dist/ort-wasm-simd-threaded.mjs dist/ort-wasm-simd-threaded.wasm
fetch @mediapipe/holistic 0.5.1675471629 8a3c0632e40e761e637d020738e96dc54d9bbbd4330ce2b206469fe467fd708b "$here/demo/vendor" \
  holistic.js holistic.binarypb holistic_solution_packed_assets_loader.js holistic_solution_packed_assets.data \
  holistic_solution_simd_wasm_bin.js holistic_solution_simd_wasm_bin.wasm pose_landmark_full.tflite
fetch @mediapipe/tasks-vision 1.1.0 46fc3d3d13fa5de631915929d045be2f74bb32e909d7a5b3a322b28976f54165 "$here/demo/vendor" \
  vision_bundle.mjs wasm/vision_wasm_internal.js wasm/vision_wasm_internal.wasm
echo "onnxruntime-web, holistic and tasks-vision are in docs/demo/vendor"
