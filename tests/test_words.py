"""One spelling and the field's own words, in everything a person reads: prose, docstrings, options, messages."""
import ast
import io
import re
import tokenize

import pytest

from notebooks import NOTEBOOKS, ROOT, cells, markdown, name_of

DOCS = [ROOT/name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/landing.md")]
TEXTS = NOTEBOOKS + [path for path in DOCS if path.exists()]

AMERICAN = r"""
    behaviors? colors? colored colorful gray grayscale favorite honor labor neighbors? neighborhoods? rumor vapor
    (re)?cent(er|ered|ering|ers) meters? millimeters? centimeters? kilometers? theater
    labeled labeling modeled modeling traveled traveling canceled canceling signaled signaling
    (un)?recogni(ze|zes|zed|zing|zer|zers|zable) initiali(ze|zes|zed|zing|zation) normali(ze|zes|zed|zing|zation)
    organi(ze|zes|zed|zing|zation) optimi(ze|zes|zed|zing|zer|zers|zation) summari(ze|zes|zed|zing)
    generali(ze|zes|zed|zing|zation) standardi(ze|zes|zed|zing|zation) randomi(ze|zes|zed|zing|zation)
    visuali(ze|zes|zed|zing|zation|zations) quanti(ze|zes|zed|zing|zation) regulari(ze|zes|zed|zing|zer|zers|zation)
    minimi(ze|zes|zed|zing) maximi(ze|zes|zed|zing) emphasi(ze|zes|zed|zing) speciali(ze|zed|zing)
    synthesi(ze|zes|zed|zing) tokeni(ze|zes|zed|zing|zer) vectori(ze|zes|zed|zing) analy(ze|zes|zed|zing|zer)
    reali(ze|zes|zed|zing) symboli(ze|zes|zed|zing) memori(ze|zes|zed|zing)
    utili(ze|zes|zed|zing) penali(ze|zes|zed|zing)
    skeptic(al)? artifacts? judgment""".split()

# What shared usage in the field calls otherwise: the pattern, and what to write.
HOME_MADE = {
    r"films?(?! strips?)": "video",
    r"(pictures|images) (a|per) second": "frames per second",
    r"dice": "random generator, seed",
    r"strangers?": "unseen signer",
    r"networks? for single frames": "feed-forward network",
    r"open (numbers?|sizes?)": "dynamic axes",
    r"predecessor": "say which program is meant",
    r"examinations?": "evaluation, predictions, comparison",
    r"chance init\w*": "random initialisation",
}
NAMES = re.compile(r"`[^`\n]*`|\]\([^)]*\)|https?://\S+|\$[^$\n]+\$|<[^>\n]+>|\b[\w.-]+[_/=][\w./=-]+|--[\w-]+")


def without_code(text):
    "Prose without fenced code, names in backticks, addresses and formulas."
    return NAMES.sub(" ", re.sub(r"^ *```.*?^ *```", " ", text, flags=re.M | re.S))


def described(source):
    "What code says in words: its comments, and texts of at least three words that are no HTML or CSS."
    source = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!", "#|")))
    try: tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except tokenize.TokenError: return ""
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)
             and isinstance(node.value, str) and len(node.value.split()) > 2
             and not re.search(r"[<>]|[\w-]+: ?[^;\n]*;", node.value)]
    return "\n".join(comments + texts)


def words_of(path):
    "All that a person reads of a notebook or of a text."
    if path.suffix != ".ipynb": return without_code(markdown(path))
    exported = [described(cell.source) for cell in cells(path) if "#| export" in cell.source]
    return without_code("\n".join([markdown(path), *exported]))


def found_in(text, patterns):
    return sorted({match[0] for match in re.finditer(rf"\b(?:{'|'.join(patterns)})\b", text, re.I)})


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_spelling_is_british(path):
    assert found_in(words_of(path), AMERICAN) == []


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_words_are_the_fields(path):
    found = {word: next(better for pattern, better in HOME_MADE.items() if re.fullmatch(pattern, word, re.I))
             for word in found_in(words_of(path), HOME_MADE)}
    assert found == {}, "write what stands behind each word"


def test_a_wrong_word_would_be_found_and_names_are_left_alone():
    text = "A behavior that `color=` and [films](film.ipynb) do not have.\n\n```python\ncolor = 'gray'\n```\n"
    text += "Recognizes films."
    assert found_in(without_code(text), AMERICAN) == ["Recognizes", "behavior"]
    assert found_in(without_code(text), HOME_MADE) == ["films"]
    source = 'def f(x): # the color\n    "Show a film."\n    return dict(color="gray", center=x.center)'
    assert found_in(described(source), AMERICAN) == ["color"] and found_in(described(source), HOME_MADE) == ["film"]
