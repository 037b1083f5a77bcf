#!/bin/sh
# Fetch what docs/demo needs to run a model in the browser: onnxruntime-web, from npm, into docs/demo/vendor (15 MB, not committed).
set -eu
VERSION=1.30.0
SHA256=d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71
here=$(cd "$(dirname "$0")" && pwd)
command -v npm >/dev/null || { echo "vendor_demo.sh: npm is needed to fetch onnxruntime-web; install Node.js" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "onnxruntime-web@$VERSION" >/dev/null)
echo "$SHA256  $work/onnxruntime-web-$VERSION.tgz" | sha256sum -c --quiet -
tar -xzf "$work/onnxruntime-web-$VERSION.tgz" -C "$work"
mkdir -p "$here/demo/vendor"
for file in dist/ort.wasm.min.mjs dist/ort-wasm-simd-threaded.mjs dist/ort-wasm-simd-threaded.wasm; do cp "$work/package/$file" "$here/demo/vendor/"; done
echo "onnxruntime-web $VERSION is in docs/demo/vendor"
