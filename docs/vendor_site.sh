#!/bin/sh
# Fetch what the pages of the site load, from npm, into docs/_static/vendor (not committed): formulas, diagrams, letters; and axe for the tests.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/npm.sh"
vendor=$here/_static/vendor
rm -rf "$vendor"
fetch mathjax 3.2.2 1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09 "$vendor/mathjax" es5/tex-chtml.js es5/output
fetch mermaid 11.17.2 6ad2f42c3fc26bbf9e45cbb6d11898972573ea52b33a5f4ff51952899f950ffd "$vendor/mermaid" dist/mermaid.esm.min.mjs dist/chunks
fetch @fontsource-variable/inter 5.3.0 d26710dd38e7217484a1d47ee76c024977ec550548876f26d06ed1844af09a14 "$vendor/fonts" files/inter-latin-wght-normal.woff2
fetch @fontsource-variable/jetbrains-mono 5.3.0 996fe6368a480c9ce15d4de22a2682b7c40b403718fee2b15e7272f244fd993f "$vendor/fonts" \
  files/jetbrains-mono-latin-wght-normal.woff2
fetch axe-core 4.14.1 e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745 "$here/axe" axe.min.js
# of each package, only what a page can ask for
(cd "$vendor/mermaid/chunks" && find . -mindepth 1 -maxdepth 1 ! -name mermaid.esm.min -exec rm -rf {} + && find . -name '*.map' -delete)
(cd "$vendor/mathjax/output" && find . -mindepth 1 -maxdepth 1 ! -name chtml -exec rm -rf {} +)
touch "$vendor/ready"
echo "mathjax, mermaid and the fonts are in docs/_static/vendor"
