#!/bin/sh
# Fetch what docs/demo needs to run models in the browser, from npm, into docs/demo/vendor (28 MB, not committed):
# onnxruntime-web for the recogniser; @mediapipe/tasks-vision for the camera, which a page loads only when a landmark model is opened in it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
command -v npm >/dev/null || { echo "vendor_demo.sh: npm is needed to fetch packages; install Node.js" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() { # package, version, SHA-256 of its archive, files wanted
  file=$(cd "$work" && npm pack --silent "$1@$2")
  echo "$3  $work/$file" | sha256sum -c --quiet -
  tar -xzf "$work/$file" -C "$work"
  shift 3
  for wanted in "$@"; do install -m 644 "$work/package/$wanted" "$here/demo/vendor/"; done
  rm -rf "$work/package"
}

mkdir -p "$here/demo/vendor"
fetch onnxruntime-web 1.30.0 d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71 \
  dist/ort.wasm.min.mjs dist/ort-wasm-simd-threaded.mjs dist/ort-wasm-simd-threaded.wasm
fetch @mediapipe/tasks-vision 1.1.0 46fc3d3d13fa5de631915929d045be2f74bb32e909d7a5b3a322b28976f54165 \
  vision_bundle.mjs wasm/vision_wasm_internal.js wasm/vision_wasm_internal.wasm
echo "onnxruntime-web and tasks-vision are in docs/demo/vendor"
