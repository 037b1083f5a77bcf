"""Make the virtual environment `.venv` with everything pinned in `constraints.txt`.

Needs nothing but Python; `make setup` calls it.

    python3 setup_venv.py dev                  the package, JupyterLab and what the tests need
    python3 setup_venv.py dev capture export   with more extras of settings.ini

It says what it downloads and how much disk that takes, and where it cannot, which package is the reason and what helps.
Without an NVIDIA card it takes the CPU build of PyTorch, if the package index has one.
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 14)  # the Pythons that the pinned PyTorch has wheels for
VENV = Path(".venv")
PYTHON = VENV/("Scripts/python.exe" if os.name == "nt" else "bin/python")
GIGABYTES = {"cpu": 2.0, "cuda": 8.0}  # of disk, with every extra


def stop(line):
    sys.exit(f"setup: {line}")


def check_python():
    if OLDEST <= sys.version_info[:2] <= NEWEST: return
    version, oldest, newest = (".".join(map(str, parts)) for parts in (sys.version_info[:3], OLDEST, NEWEST))
    stop(f"this is Python {version}; PyTorch has builds for {oldest} to {newest}. "
         f"Name another: make setup PYTHON=python{oldest}")


def run(*words):
    "A command's exit status and its last lines; what it downloads is shown as it goes."
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace")
    last = []
    for line in process.stdout:
        last = [*last[-199:], line.strip()]
        if found := re.match(r"\s*Downloading (\S+?)(?:\.metadata)? \(([\d.]+ [MG]B)\)", line):
            print(f"  {found[1].split('/')[-1]}  {found[2]}", flush=True)
    return process.wait(), last


def pip(*words):
    return run(PYTHON, "-m", "pip", "--disable-pip-version-check", *words)


def install(*words):
    "What pip installs is compiled when it is first imported, not all of it now; unless Python may not keep that."
    return pip("install", "--no-compile", "-c", "constraints.txt", *words)


def pinned(name):
    "The version of a package in constraints.txt."
    return re.search(rf"^{name}==(\S+)", Path("constraints.txt").read_text(encoding="utf-8"), re.M)[1]


def torch_build():
    "`cpu` or `cuda`: a CPU build is installed at once where there is no NVIDIA card and the index has one."
    wanted = f"torch=={pinned('torch')}"
    if sys.platform != "linux" or os.uname().machine != "x86_64": return "cpu"  # the only build there is
    if shutil.which("nvidia-smi"): return "cuda"
    status, last = pip("install", "--dry-run", "--no-deps", wanted + "+cpu")
    if any("already satisfied" in line for line in last): return "cpu"
    if status == 0: status, last = install(wanted + "+cpu")
    return "cpu" if status == 0 else "cuda"


def explain(last):
    "What pip says at its end, in a line with a cure."
    errors = [line for line in last if line.startswith("ERROR:")] or last[-1:] or ["pip ended without a word"]
    for line in errors:
        if found := re.search(r"No matching distribution found for (\S+)|requirement (\S+) \(from versions", line):
            version = ".".join(map(str, sys.version_info[:3]))
            return (f"{found[1] or found[2]} has no build for Python {version} on this machine, "
                    "or the package index cannot be reached; try another Python (make setup PYTHON=python3.12)")
        if "No space left" in line: return f"the disk is full; about {GIGABYTES['cpu']:.0f} GB are needed here"
    return errors[0].removeprefix("ERROR: ")[:300]


def main(extras):
    check_python()
    if not PYTHON.exists():
        status, last = run(sys.executable, "-m", "venv", VENV)
        if status: stop(f"{sys.executable} cannot make a virtual environment ({last[-1] if last else ''}); "
                        "on Debian: apt install python3-venv")
    free = shutil.disk_usage(".").free/1e9
    print(f"setup: Python {sys.version.split()[0]}, {free:.0f} GB of disk are free. "
          "What is not in pip's cache is downloaded:", flush=True)
    build = torch_build()
    needed = GIGABYTES[build]
    print(f"setup: PyTorch {pinned('torch')} ({build}); with everything else up to {needed:.0f} GB in {VENV}",
          flush=True)
    status, last = install("-e", f".[{','.join(extras)}]")
    if status: stop(explain(last))
    if sys.dont_write_bytecode: run(PYTHON, "-m", "compileall", "-q", "-j", "0", VENV) # or every start compiles anew
    size = sum(path.lstat().st_size for path in VENV.rglob("*") if path.is_file() and not path.is_symlink())/1e9
    print(f"setup: done, {size:.1f} GB in {VENV}", flush=True)


if __name__ == "__main__": main(sys.argv[1:] or ["dev"])
