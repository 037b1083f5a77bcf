# Read by the scripts beside it: fetch a package from npm, check it, and keep some of its files.
command -v npm >/dev/null || { echo "npm is needed to fetch what runs in the browser; install Node.js" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() { # package, version, SHA-256 of its archive, folder to fill, files and folders wanted
  file=$(cd "$work" && npm pack --silent "$1@$2")
  echo "$3  $work/$file" | sha256sum -c --quiet -
  tar -xzf "$work/$file" -C "$work"
  chmod -R u+rwX,go+rX "$work/package" # some packages hold files that only their owner may read
  mkdir -p "$4"
  folder=$4
  shift 4
  for wanted in "$@"; do cp -rf "$work/package/$wanted" "$folder/"; done
  rm -rf "$work/package"
}
