"""Renew everything that is made from the notebooks: the package, their outputs, and README.md.

    python nbs/_tools/renew.py               export, run every notebook, clean, write README.md
    python nbs/_tools/renew.py 06_tcn …      the same for those named, by stem or by path (network/06_tcn)

Widgets need the kernel that made them, so their state is not stored; a picture beside them stands in.
"""
import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT/"nbs"


def tool(name):
    subprocess.run([Path(sys.executable).parent/name], cwd=ROOT, check=True)


def run(path):
    "Execute a notebook in place, in its own folder, in a new kernel."
    print(f"running {path.relative_to(ROOT)}", flush=True)
    notebook = nbformat.read(path, 4)
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=1800, startup_timeout=300, kernel_name="python3", resources=folder,
                   store_widget_state=False).execute()
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, path)


def readme():
    "README.md from nbs/index.ipynb: its prose, its visible code, its text results and its pictures."
    images, parts = NOTEBOOKS/"images", ["<!-- made from nbs/index.ipynb by `make notebooks`; edit that -->"]
    for cell in nbformat.read(NOTEBOOKS/"index.ipynb", 4).cells:
        if cell.cell_type == "markdown": parts.append(cell.source)
        if cell.cell_type != "code" or "#| hide" in cell.source: continue
        if "#| echo: false" not in cell.source: parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if kind := next((kind for kind in ("png", "gif") if f"image/{kind}" in data), None):
                images.mkdir(exist_ok=True)
                path = images/f"index_{len(parts)}.{kind}"
                path.write_bytes(base64.b64decode(data[f"image/{kind}"]))
                parts.append(f"![](images/{path.name})")
            elif "text/plain" in data: parts.append(f"```\n{data['text/plain']}\n```")
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    text = re.sub(r"\]\((?!https?:|#|/)", "](nbs/", text)
    (ROOT/"README.md").write_text(text.replace("](nbs/../", "]("), encoding="utf-8")


def named(names, every):
    "The notebooks meant by stems or paths; a name that means none ends the program."
    found = []
    for name in names:
        end = Path(name).with_suffix("").parts
        meant = [path for path in every if path.relative_to(ROOT).with_suffix("").parts[-len(end):] == end]
        if not meant: raise SystemExit(f"{name}: there is no such notebook under nbs/")
        found += meant
    return found


if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"  # progress bars are for people, not for committed outputs
    every = sorted(path for path in NOTEBOOKS.rglob("*.ipynb")
                   if not any(part[0] in "._" for part in path.relative_to(NOTEBOOKS).parts))
    wanted = named(sys.argv[1:], every) or every
    tool("nbdev_export")
    for path in wanted: run(path)
    tool("nbdev_clean")
    tool("nbdev_export")
    readme()
