#!/bin/sh
# Fetch what docs/demo needs to run models in the browser, from npm, into docs/demo/vendor (28 MB, not committed):
# onnxruntime-web for the recogniser; @mediapipe/tasks-vision for the camera, which a page loads only when a landmark model is opened in it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/npm.sh"
fetch onnxruntime-web 1.30.0 d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71 "$here/demo/vendor" \
  dist/ort.wasm.min.mjs dist/ort-wasm-simd-threaded.mjs dist/ort-wasm-simd-threaded.wasm
fetch @mediapipe/tasks-vision 1.1.0 46fc3d3d13fa5de631915929d045be2f74bb32e909d7a5b3a322b28976f54165 "$here/demo/vendor" \
  vision_bundle.mjs wasm/vision_wasm_internal.js wasm/vision_wasm_internal.wasm
echo "onnxruntime-web and tasks-vision are in docs/demo/vendor"
