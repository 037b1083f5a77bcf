"""Turn the notebooks into pages for Sphinx: docs/_src. Nothing is executed; the outputs are those that were committed.

    python docs/pages.py [FOLDER]

An exported function or class becomes an entry with its parameters, read from the comments beside them, above its
source.
Symbols in backticks become links. nbs/sidebar.yml, which Quarto reads too, gives the order.
"""
import ast
import base64
import io
import os
import re
import shutil
import sys
import tokenize
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT/"nbs"
REPOSITORY = "https://github.com/asl-nb/asl_nb/blob/main/"
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
BESIDE = ("CONTRIBUTING.md", "CHANGELOG.md")  # pages that are no notebooks
WINGS = ("core", "data", "network", "evaluation", "training", "capture", "live")  # in the order a clip travels


def notebook_paths():
    def hidden(path): return any(part[0] in "._" for part in path.relative_to(NOTEBOOKS).parts)
    return sorted(path for path in NOTEBOOKS.rglob("*.ipynb") if not hidden(path))


def address_of(path):
    "A notebook as nbs/sidebar.yml names it: `data/04_clips.ipynb`."
    return str(path.relative_to(NOTEBOOKS))


def read_sidebar():
    "The sections of the sidebar with their notebooks, and the core path."
    content = yaml.safe_load((NOTEBOOKS/"sidebar.yml").read_text(encoding="utf-8"))
    entries = content["website"]["sidebar"]["contents"]
    first = [entry for entry in entries if isinstance(entry, str) and entry != "index.ipynb"]
    sections = [(entry["section"], entry["contents"]) for entry in entries if isinstance(entry, dict)]
    return [("Start here", first)]*bool(first) + sections, content["core_path"]


def module_of(notebook):
    found = re.search(r"#\| ?default_exp (\S+)", notebook.cells[0].source)
    return f"asl_nb.{found[1]}" if found else None


def exported(notebook):
    "The statements of each exported cell."
    return [ast.parse(cell.source).body for cell in notebook.cells if cell.cell_type == "code"
            and "#| export" in cell.source]


def public(statements):
    return [node for node in statements if isinstance(node, DEFINITIONS) and node.name[0] != "_"]


# ------------------------------------------------------------------ entries for functions and classes
def comments_by_line(source):
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def type_and_help(annotation, default):
    "`Annotated[Path, Option(help=\"…\")]` is `Path` and a description."
    told = [keyword.value.value for node in (annotation, default) if node for call in ast.walk(node)
            if isinstance(call, ast.Call)
            for keyword in call.keywords if keyword.arg in ("help", "description")
            and isinstance(keyword.value, ast.Constant)]
    if isinstance(annotation, ast.Subscript) and getattr(annotation.value, "id", "") == "Annotated":
        annotation = annotation.slice.elts[0]
    return annotation, told[0] if told else None


def parameters(node):
    "`(name as it is written in a signature, name, annotation, default)` of a function, or of the fields of a class."
    if isinstance(node, ast.ClassDef):
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and each.target.id[0] != "_"]
        return [(each.target.id, each.target.id, each, each.annotation, each.value) for each in fields]
    given, rows = node.args, []
    plain = given.posonlyargs + given.args
    defaults = [None]*(len(plain) - len(given.defaults)) + given.defaults
    for place, (argument, default) in enumerate(zip(plain, defaults)):
        if place == len(given.posonlyargs) > 0: rows.append(("/", None, None, None, None))
        rows.append((argument.arg, argument.arg, argument, argument.annotation, default))
    if given.vararg:
        rows.append((f"*{given.vararg.arg}", given.vararg.arg, given.vararg, given.vararg.annotation, None))
    elif given.kwonlyargs: rows.append(("*", None, None, None, None))
    rows += [(argument.arg, argument.arg, argument, argument.annotation, default)
             for argument, default in zip(given.kwonlyargs, given.kw_defaults)]
    if given.kwarg: rows.append((f"**{given.kwarg.arg}", given.kwarg.arg, given.kwarg, given.kwarg.annotation, None))
    return [row for row in rows if row[1] not in ("self", "cls")]


def short(node):
    text = ast.unparse(node)
    return text if len(text) < 70 else "..."


def describe(node, comments, module, link, inside=""):
    "A definition as a Sphinx entry: signature, docstring, a list of parameters; for a class, its methods too."
    is_class = isinstance(node, ast.ClassDef)
    decorators = {ast.unparse(each) for each in node.decorator_list}
    kind = "class" if is_class else "method" if inside else "function"
    if decorators & {"property", "cached_property"}: kind = "property"
    source = node
    if is_class:
        source = next((each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"),
                      node)
    parts, fields = [], []
    for written, name, where, annotation, default in parameters(source):
        if name is None: parts.append(written); continue
        annotation, told = type_and_help(annotation, default)
        parts.append(written + (f": {short(annotation)}" if annotation else "")
                     + (f" = {short(default)}" if default else ""))
        text = told or comments.get(where.end_lineno) or comments.get(getattr(default, "end_lineno", 0))
        if text: fields.append(f":param {name}: {link(text)}")
    returns = None if is_class else node.returns
    if returns and comments.get(returns.end_lineno): fields.append(f":returns: {link(comments[returns.end_lineno])}")
    signature = "" if kind == "property" else f"({', '.join(parts)})" + (f" -> {short(returns)}" if returns else "")
    options = [f":module: {module}"] + [f":{each}:" for each in ("classmethod", "staticmethod") if each in decorators]
    body = [link(ast.get_docstring(node) or ""), "\n".join(fields)]
    if is_class:
        methods = [each for each in public(node.body) if not isinstance(each, ast.ClassDef) and ast.get_docstring(each)]
        body += [describe(each, comments, module, link, f"{node.name}.") for each in methods]
    fence = "`"*(4 if inside else 5)
    lines, text = "\n".join(options), "\n\n".join(filter(None, body))
    return f"{fence}{{py:{kind}}} {inside}{node.name}{signature}\n{lines}\n\n{text}\n{fence}"


# ------------------------------------------------------------------ prose
def outside_code(text, change):
    "Apply a change to Markdown, leaving fenced code alone."
    pieces = re.split(r"(^ *`{3,}[\s\S]*?^ *`{3,} *$)", text, flags=re.M)
    return "".join(piece if place % 2 else change(piece) for place, piece in enumerate(pieces))


def front_door():
    "What `import asl_nb` offers: each name and the module it comes from."
    body = ast.parse((ROOT/"asl_nb"/"__init__.py").read_text(encoding="utf-8")).body
    return next(ast.literal_eval(node.value) for node in body
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOME")


class Links:
    "Where every symbol, notebook and file of the project is to be found in the site."
    def __init__(self, notebooks):
        self.symbols, self.modules = {}, set()
        seen = {}
        for notebook in notebooks:
            module = module_of(notebook)
            self.modules.add(module)
            for node in (node for statements in exported(notebook) for node in public(statements)):
                names = [node.name] + [f"{node.name}.{each.name}" for each in public(node.body)
                                       if isinstance(node, ast.ClassDef) and ast.get_docstring(each)]
                for name in names:
                    self.symbols[f"{module}.{name}"] = f"{module}.{name}"
                    seen.setdefault(name, []).append(f"{module}.{name}")
        self.symbols |= {name: places[0] for name, places in seen.items() if len(places) == 1}
        self.symbols |= {f"asl_nb.{name}": f"asl_nb.{home}.{name}" for name, home in front_door().items()}

    def symbol(self, match):
        "A word in backticks. Everyday words, such as train, are names only with brackets or a module before them."
        name, brackets = match[1], match[2] or ""
        if name.startswith("asl_nb.") and not brackets and name in self.modules: return f"{{py:mod}}`{name}`"
        inside = name.removeprefix("asl_nb.")
        if name.startswith("asl_nb.") and inside in WINGS: return match[0]
        if name.startswith("asl_nb.") and name not in self.symbols and inside[0].isalpha() and not name.endswith(".py"):
            raise SystemExit(f"`{name}`: there is no such symbol in the notebooks")
        if name not in self.symbols or (name.isalpha() and name.islower() and not brackets): return match[0]
        return f"{{py:obj}}`{name}{brackets} <{self.symbols[name]}>`"

    def target(self, match, path):
        "A relative link of a notebook or of a file at the top: to its page, or to the repository."
        address, _, anchor = match[1].partition("#")
        anchor = anchor and "#" + anchor
        if not address or re.match(r"[a-z]+:", address): return match[0]
        wanted = (path.parent/address).resolve()
        if not wanted.exists(): raise SystemExit(f"{path.relative_to(ROOT)}: the link to {address} leads nowhere")
        if wanted == NOTEBOOKS/"index.ipynb": wanted = NOTEBOOKS/"overview.ipynb"
        if wanted.parent == ROOT and wanted.name in BESIDE: wanted = NOTEBOOKS/wanted.name.lower()
        if NOTEBOOKS not in wanted.parents: return f"]({REPOSITORY}{wanted.relative_to(ROOT)}{anchor})"
        here = path.parent if NOTEBOOKS in path.parents else NOTEBOOKS  # pages lie as the notebooks do
        return f"]({os.path.relpath(wanted, here)}{anchor})"

    def prose(self, text, path):
        "Markdown as the notebooks and GitHub have it, with links as Sphinx wants them."
        def change(part):
            part = re.sub(r"(?<![\w`}\[])`([\w.]+)(\(\))?`(?!`)", self.symbol, part)
            return re.sub(r"(?<!\\)\]\(([^)\s]+)\)", lambda match: self.target(match, path), part)
        return re.sub(r"^(\s*```)mermaid\s*$", r"\1{mermaid}", outside_code(text, change), flags=re.M)


# ------------------------------------------------------------------ cells
def code_cell(cell, module, link, heading):
    "An exported definition: its entry, and its source folded away. Everything else: code and outputs, no widgets."
    source = re.sub(r"^(#\||show_doc\().*\n?", "", cell.source, flags=re.M).strip("\n")
    tags, show, made = [], None, []
    if "#| echo: false" in cell.source: tags.append("remove-input")
    if "#| export" in cell.source:
        statements = ast.parse(source).body
        entries = [describe(node, comments_by_line(source), module, link) for node in public(statements)]
        if entries:
            made.append(nbformat.v4.new_markdown_cell("\n\n".join(entries)))
            show = "Source"
        elif all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in statements): show = "Imports"
    metadata = {"mystnb": {"image": {"alt": f"Output of the code above: {heading}"}}}
    if show:
        tags.append("hide-input")
        metadata["mystnb"] |= {"code_prompt_show": show, "code_prompt_hide": show}
    outputs = [output for output in cell.outputs if drop_widget(output)
               and not ("show_doc(" in cell.source and "text/markdown" in output.get("data", {}))]
    for output in outputs:
        if "text/markdown" in output.get("data", {}): output.data["text/markdown"] = link(output.data["text/markdown"])
    return made + [nbformat.v4.new_code_cell(source, outputs=outputs, metadata=metadata | {"tags": tags})]


def drop_widget(output):
    "Without a kernel a widget is the picture stored beside it; false if there is none."
    data = output.get("data", {})
    if data.pop("application/vnd.jupyter.widget-view+json", None) is None: return True
    return any(kind.startswith(("image/", "text/html")) for kind in data)


def title_of(notebook):
    "The heading of a notebook, and its summary in one sentence."
    source = next(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title, summary = re.search(r"^# (.*)", source, re.M), re.search(r"^> (.*)", source, re.M)
    return title[1] if title else "", summary[1] if summary else ""


def standing(path, core, titles, is_room):
    "A line about where a page stands: on the core path, with the way on, or among the advanced rooms."
    if address_of(path) not in core:
        return "*Advanced: not on the [core path](/index.md#the-core-path).*" if is_room else ""
    place = core.index(address_of(path))
    said = f"**[Core path](/index.md#the-core-path), {place + 1} of {len(core)}.**"
    if place + 1 == len(core): return f"{said} The last one."
    after = core[place + 1]
    return f"{said} The next on it: [{titles[after]}](/{after})."


def make_page(path, notebook, links, place=""):
    module, heading, cells = module_of(notebook), path.stem, []
    link = lambda text: links.prose(text, path)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = next(iter(re.findall(r"^#+ (.*)", cell.source, re.M)[::-1]), heading)
            cells.append(nbformat.v4.new_markdown_cell(link(cell.source)))
            if len(cells) == 1:
                if place: cells[0].source += f"\n\n{place}"
                if module: cells[0].source += f"\n\n```{{py:module}} {module}\n```"
        elif cell.cell_type == "code" and not re.search(r"^#\| ?(hide|default_exp)", cell.source, re.M):
            cells += code_cell(cell, module, link, heading.replace("`", ""))
    for number, cell in enumerate(cells): cell["id"] = f"cell-{number}"
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                "language_info": {"name": "python"}}
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=metadata))


# ------------------------------------------------------------------ the site
def contents(made, titles):
    "The table of contents, from nbs/sidebar.yml; a star marks the core path."
    sections, core = read_sidebar()
    listed = ["index.ipynb", *(name for _, names in sections for name in names)]
    if wrong := set(listed) ^ set(made):
        raise SystemExit(f"nbs/sidebar.yml: lists what is not there, or lacks: {', '.join(sorted(wrong))}")
    if wrong := set(core) - set(listed): raise SystemExit(f"nbs/sidebar.yml: core_path has {', '.join(sorted(wrong))}")
    def entry(name): return f"★ {titles[name]} <{name[:-6]}>" if name in core else name[:-6]
    lists = [(title, [entry(name) for name in names]) for title, names in sections]
    lists.append(("The project",
                  ["What it does, and what is measured <overview>", "rooms", "contributing", "changelog"]))
    return "\n\n".join("```{toctree}\n:hidden:\n:caption: " + title + "\n\n" + "\n".join(names) + "\n```"
                       for title, names in lists)


def list_of_core_path(notebooks, links):
    "The core path as a numbered list: title and summary of each notebook."
    core, lines = read_sidebar()[1], []
    for place, name in enumerate(core, 1):
        title, summary = title_of(notebooks[NOTEBOOKS/name])
        lines.append(f"{place}. [{title}]({name}) – {links.prose(summary, NOTEBOOKS/name)}")
    return "\n".join(lines)


def imports_of(notebook):
    "The modules of the project that the exported cells of a notebook import."
    source = "\n".join(ast.unparse(node) for statements in exported(notebook) for node in statements)
    return set(re.findall(r"^ *from (asl_nb\.[\w.]+) import", source, re.M)) - {module_of(notebook)}


def nearest(imports):
    "Of who imports whom, only what no other import brings along."
    reach = {}
    def reached(name):
        if name not in reach: reach[name] = imports[name].union(*map(reached, imports[name]))
        return reach[name]
    return {name: each - set().union(*map(reached, each)) for name, each in imports.items()}


def wing_of(module):
    "`data` of `asl_nb.data.clips`; the rooms on top, in no wing, are `top`."
    return module.split(".")[1] if module.count(".") == 2 else "top"


def map_of_rooms(rooms):
    "A diagram of the wings and their rooms, and who imports whom as a table."
    imports = {module_of(notebook): imports_of(notebook) for _, notebook in rooms}
    names = {module_of(notebook): path.stem for path, notebook in rooms}
    wings = [wing for wing in (*WINGS, "top") if wing in map(wing_of, imports)]
    inside = nearest({module: {each for each in found if wing_of(each) == wing_of(module)}
                      for module, found in imports.items()})
    between = nearest({wing: {wing_of(each) for module, found in imports.items() if wing_of(module) == wing
                              for each in found} - {wing}
                       for wing in wings})
    def flowchart(direction, lines): return f"```{{mermaid}}\nflowchart {direction}\n" + "\n".join(lines) + "\n```"
    wings_drawn = [f'  wing_{wing}["{wing}"]' for wing in wings]
    wings_drawn += [f"  wing_{each} --> wing_{wing}" for wing in wings for each in wings if each in between[wing]]
    parts = []
    for wing in wings:
        here = sorted((module for module in imports if wing_of(module) == wing), key=names.get)
        drawn = [f'  {names[module]}["{names[module].replace("_", " ")}"]' for module in here]
        drawn += [f"  {names[each]} --> {names[module]}" for module in here
                  for each in sorted(inside[module], key=names.get)]
        folder = "" if wing == "top" else f"{wing}/"
        rows = [f"| [{names[module]}]({folder}{names[module]}.ipynb) | "
                + (", ".join(f"{{py:mod}}`{each}`" for each in sorted(imports[module])) or "–") + " |"
                for module in here]
        parts += [f"## {wing.capitalize() if wing != 'top' else 'On top'}", flowchart("LR", drawn),
                  "| room | imports |\n|---|---|\n" + "\n".join(rows)]
    return ("# Map of the rooms\n\n"
            "> Each notebook is a room. A room imports only from rooms of lower numbers in its wing, and from the "
            "wings before its own.\n\n"
            "Drawn from the code. An import that another import brings along is left out of the drawings, not of the "
            "tables.\n\n"
            + flowchart("LR", wings_drawn) + "\n\n" + "\n\n".join(parts) + "\n")


def save_picture(match, notebooks, folder):
    "`![…](evaluation/04_report.ipynb#word)` on the front page is the figure that a cell with this word made."
    name, word = match[1].split("#")
    made = [output.data for cell in notebooks[NOTEBOOKS/name].cells if cell.cell_type == "code" and word in cell.source
            for output in cell.outputs if {"image/gif", "image/png"} & set(output.get("data", {}))]
    if not made: raise SystemExit(f"docs/landing.md: no cell of {name} with {word} in it made a picture")
    kind = "gif" if "image/gif" in made[0] else "png"
    (folder/f"{word}.{kind}").write_bytes(base64.b64decode(made[0][f"image/{kind}"]))
    return f"images/{word}.{kind}"


def main(folder=ROOT/"docs"/"_src"):
    pages = Path(folder)
    notebooks = {path: nbformat.read(path, 4) for path in notebook_paths()}
    rooms = [(path, notebook) for path, notebook in notebooks.items() if module_of(notebook)]
    links = Links([notebook for _, notebook in rooms])
    if pages.exists(): shutil.rmtree(pages)
    shutil.copytree(NOTEBOOKS/"images", pages/"images")
    core = read_sidebar()[1]
    titles = {address_of(path): title_of(notebook)[0] for path, notebook in notebooks.items()}
    for path, notebook in notebooks.items():
        page = pages/(path.relative_to(NOTEBOOKS) if path != NOTEBOOKS/"index.ipynb" else "overview.ipynb")
        page.parent.mkdir(parents=True, exist_ok=True)
        place = standing(path, core, titles, is_room=module_of(notebook) is not None)
        page.write_text(make_page(path, notebook, links, place), encoding="utf-8")
    for name in BESIDE:
        text = links.prose((ROOT/name).read_text(encoding="utf-8"), ROOT/name)
        (pages/name.lower()).write_text(text, encoding="utf-8")
    (pages/"rooms.md").write_text(map_of_rooms(rooms), encoding="utf-8")
    landing = (ROOT/"docs"/"landing.md").read_text(encoding="utf-8")
    if not (ROOT/"docs"/"demo"/"data"/"demo.json").exists(): # `make docs` makes it; without it the button would be dead
        landing = re.sub(r"<a [^>]*demo/index\.html.*\n", "", landing)
    landing = re.sub(r"(?<=\]\()([\w/]+\.ipynb#\w+)", lambda match: save_picture(match, notebooks, pages/"images"),
                     landing)
    landing = landing.replace("{{core path}}", list_of_core_path(notebooks, links))
    made = [address_of(path) for path in notebooks]
    (pages/"index.md").write_text(landing + "\n\n" + contents(made, titles) + "\n", encoding="utf-8")


if __name__ == "__main__": main(*sys.argv[1:])
