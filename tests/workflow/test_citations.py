"""Nothing that is written for people is unfinished, and what it names is there.

That is: files, pages, sections, modules, targets of make. Read are pages and YAML as a whole, and of code the
comments and docstrings.
"""

from __future__ import annotations

import ast
import fnmatch
import inspect
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.workflow.outlines import RESULTS

BASE = Path(__file__).parents[2]
ROOMS = (
    *("docs", "config", "profiles", "schemas", "envs", "rules"),
    *("clipsteer", "workflow_scripts", "benchmarks", "experiments", "tests"),
)
# Beside the rooms: other folders at the top hold what people make here.
AT_TOP = re.compile(r"(?:\w+\.(?:md|yaml|toml)|Snakefile|Makefile|LICENSE)")
MADE = {"__pycache__", "out"}  # and what is hidden: `benchmarks/.venv`


@cache
def repository() -> frozenset[str]:
    inside = (p for room in ROOMS for p in (BASE / room).rglob("*") if p.is_file())
    at_top = (p for p in BASE.iterdir() if p.is_file() and AT_TOP.fullmatch(p.name))
    names = (p.relative_to(BASE) for p in (*inside, *at_top, BASE / "artifacts/README.md"))
    return frozenset(
        name.as_posix()
        for name in names
        if not any(part in MADE or part.startswith(".") for part in name.parts)
    )


KINDS = {".md", ".yaml", ".smk", ".py", ".toml"}
# But this file, which gives bad examples.
TEXTS = sorted(
    name
    for name in repository() - {Path(__file__).relative_to(BASE).as_posix()}
    if Path(name).suffix in KINDS or name in {"Snakefile", "Makefile"}
)
PAGES = [name for name in TEXTS if name.endswith(".md")]


@cache
def read(name: str) -> str:
    return (BASE / name).read_text(encoding="utf-8")


@cache
def parts(name: str) -> tuple[str, str]:
    """What of a file is written for people, and its code.

    Of pages all is for people, of YAML too (the schema has descriptions), else comments and docstrings.
    """
    text = read(name)
    if name.endswith(".md"):
        return text, ""
    if not name.endswith(".py"):
        comment = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)
        all_of_it = text if name.endswith(".yaml") else "\n".join(comment.findall(text))
        return all_of_it, comment.sub("", text)
    said, code = [], []
    doc = {
        (node.value.lineno, node.value.col_offset)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str)
    }
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.start in doc:
            said.append(inspect.cleandoc(ast.literal_eval(token.string)))
        else:
            (said if token.type == tokenize.COMMENT else code).append(token.string)
    return "\n".join(said), "\n".join(code)


@cache
def code_words() -> frozenset[str]:
    """Every word of the code: names, and what stands in its strings."""
    return frozenset(w for name in TEXTS for w in re.findall(r"[\w.-]+", parts(name)[1]))


FENCE = re.compile(r"^ *```.*?^ *```$|^    .*$", re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """Markdown without its code."""
    return re.sub(r"`[^`]*`", "", FENCE.sub("", text))


# ----------------------------------------------------------------------------------- placeholders

UNFINISHED = re.compile(
    r"\b(?:TODO|FIXME|XXX+|TBD|TBA|TBC|TKTK|WIP|N{3,}|[Ll]orem ipsum|coming soon)\b"
    r"|\?\?\?|\{\{\s*\w+\s*\}\}|<<\s*\w+\s*>>|\[(?:citation|reference|link) needed\]"
)
TEMPLATE = re.compile(r"^\s*[A-Z][A-Z0-9_]+\s*$|\{[A-Za-z_]\w*\}|\b[Xx]+\.[Xx]+\b", re.MULTILINE)
# Words in capitals that need not stand in the code: files, a word of RFC 2119, signals, Slurm's variables.
CAPITALS = re.compile(r"README|LICENSE|CHANGELOG|CONTRIBUTING|SHOULD|SIG[A-Z]+|SLURM_[A-Z_]+")


def placeholders(text: str, page: bool) -> Iterator[str]:
    """What a template or its author left open."""
    yield from UNFINISHED.findall(text)
    text = prose(text)
    if page:
        yield from (found.strip() for found in TEMPLATE.findall(text))
    for word in re.findall(r"\b[A-Z][A-Z_]{5,}\b", text):
        if word not in code_words() and not CAPITALS.fullmatch(word):
            yield word


def test_nothing_is_left_open() -> None:
    found = {name: list(placeholders(parts(name)[0], name.endswith(".md"))) for name in TEXTS}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize(
    "text",
    [
        "before\n\nPEAKTABLE\n\nafter",
        "It takes SPEEDNUMBER seconds.",
        "| a | {rate} |",
        "It takes X.X seconds.",
        "TBD: measure",
        "{{ table }}",
        "as shown by ???",
    ],
)
def test_open_ends_are_seen(text: str) -> None:
    assert list(placeholders(text, page=True))


def test_names_and_code_are_no_open_ends() -> None:
    text = (
        "SIGTERM stops it, see README. `{dataset}` is a name.\n\n```\nWORD\n{x}\n```\nMUST, CUDA\n"
    )
    assert list(placeholders(text, page=True)) == []


# ------------------------------------------------------------------------------------------ files

CITED = re.compile(r"(?<![\w/.~{}<>*-])[\w~<>*{}./-]*[\w>*}]\.(?:py|md|yaml|csv|smk)\b(?!\.\w)")


def exists(name: str) -> bool:
    """Whether a file of the repository, or a documented result, ends in this path.

    `<name>` and `{name}` stand for any word.
    """
    pattern = re.sub(r"<[^>]*>|\{[^}]*\}", "*", name.lstrip("./"))
    if any(fnmatch.fnmatch(f"/{file}", f"*/{pattern}") for file in repository()):
        return True
    return any(fnmatch.fnmatch(pattern, file.replace("{dataset}", "*")) for file in RESULTS)


def dead_files(text: str) -> Iterator[str]:
    """Files that are cited and are not there.

    A name that the code knows is a user's file (`metadata.csv`), one that a command of the same page
    has is an example (`boats.yaml`).
    """
    known = {word for block in FENCE.findall(text) for word in CITED.findall(block)} | code_words()
    for name in CITED.findall(text):
        ours = name.split("/")[0] in {*ROOMS, "results"}
        if not exists(name) and (ours or Path(name).name not in known):
            yield name


def test_cited_files_are_there() -> None:
    found = {name: list(dead_files(parts(name)[0])) for name in TEXTS}
    assert {name: files for name, files in found.items() if files} == {}


def test_pages_that_messages_name_are_there() -> None:
    pages = {page for name in TEXTS for page in re.findall(r"\bdocs/[\w/-]+\.md", parts(name)[1])}
    assert sorted(pages - repository()) == []
    assert pages


@pytest.mark.parametrize(
    "text",
    [
        "as `definitions.md` has it",
        "docs/methods.md",
        "`clipsteer/backbones/towers.py`",
        "```\npython benchmarks/speed_of_all.py\n```",
        "results/celeba_features.csv",
        "config/papers.yaml",
    ],
)
def test_dead_files_are_seen(text: str) -> None:
    assert list(dead_files(text))


def test_files_results_and_examples_are_known() -> None:
    text = """docs/method.md, `pixels.py`, results/<dataset>_table.csv, `layouts/*.py`, `metadata.csv`,
    rules/{common}.smk
    ```
    snakemake --configfile mine.yaml
    ```
    where mine.yaml wins"""
    assert list(dead_files(text)) == []


# ------------------------------------------------------------------------------- modules, targets


def dead_modules(text: str) -> Iterator[str]:
    """`clipsteer.a.b` and the like that are neither a module nor a name in one."""
    for name in re.findall(
        r"(?<![\w./-])(?:clipsteer|benchmarks|experiments)(?:\.[A-Za-z_]\w*)+", text
    ):
        module, _, last = name.rpartition(".")
        paths = [BASE / name.replace(".", "/"), BASE / module.replace(".", "/")]
        whole = paths[0].is_dir() or paths[0].with_suffix(".py").exists()
        file = paths[1] / "__init__.py" if paths[1].is_dir() else paths[1].with_suffix(".py")
        inside = file.exists() and re.search(rf"\b{last}\b", file.read_text(encoding="utf-8"))
        if not whole and not inside and not exists(name):
            yield name


def dead_targets(text: str) -> Iterator[str]:
    """Words after `make` in code that are no targets of the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), re.MULTILINE))
    for words in re.findall(r"(?:`|^ *)make ([a-z-]+)(?:`| *(?:#.*)?$)", text, re.MULTILINE):
        if words not in targets:
            yield words


@pytest.mark.parametrize("dead", [dead_modules, dead_targets])
def test_cited_modules_and_targets_are_there(dead: Callable[[str], Iterator[str]]) -> None:
    found = {name: list(dead(parts(name)[0])) for name in TEXTS}
    assert {name: words for name, words in found.items() if words} == {}


def test_dead_modules_and_targets_are_seen() -> None:
    bad = "python -m benchmarks.speeds; `clipsteer.backbones.towers`; `clipsteer.store.digest.nothing_such`"
    assert len(list(dead_modules(bad))) == 3
    assert list(dead_modules("`clipsteer.store.digest.canonical_json`, clipsteer.backbones")) == []
    assert list(
        dead_targets("`make benches`\n\n```\nmake bench\nmake all-of-it   # slow\n```\n")
    ) == [
        "benches",
        "all-of-it",
    ]


# -------------------------------------------------------------------------------- links, sections


@cache
def headings(page: str) -> tuple[str, ...]:
    text = re.sub(r"^ *```.*?^ *```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    return tuple(re.findall(r"^#+ (.+?) *$", text, re.MULTILINE))


def anchors(page: str) -> set[str]:
    """As GitHub makes them: a heading that comes again has -1, -2, ... behind."""
    found: set[str] = set()
    for title in headings(page):
        anchor = plain = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        number = 0
        while anchor in found:
            number += 1
            anchor = f"{plain}-{number}"
        found.add(anchor)
    return found


def dead_links(page: str, text: str) -> Iterator[str]:
    """Links of a page that lead to no file, or to no heading of a page."""
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue  # elsewhere: tests have no network
        path, _, anchor = target.partition("#")
        place = ((BASE / page).parent / path).resolve() if path else BASE / page
        known = place.exists() and (not anchor or anchor in anchors(str(place.relative_to(BASE))))
        if not known:
            yield target


def dead_names(page: str, text: str) -> Iterator[str]:
    """Links with a name in backticks as their text, to a file of code that does not define it.

    `Class.method` may be one of a class; of rules, functions count.
    """
    for name, path in re.findall(r"\[`([A-Za-z_][\w.]*)`\]\(([^)#\s]+\.(?:py|smk))\)", text):
        file = (BASE / page).parent / path
        if not file.exists() or name not in defined(file):
            yield f"{name} in {path}"


@cache
def defined(file: Path) -> frozenset[str]:
    """The names that a file of code defines: functions, classes, constants, and those in its classes."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".smk":
        named = re.findall(r"^ *rule (\w+):$|^(\w+) = ", text, re.MULTILINE)
        return frozenset(name for pair in named for name in pair if name)
    found: set[str] = set()

    def visit(nodes: list[ast.stmt], prefix: str) -> None:
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}{node.name}.")
            targets = [node.target] if isinstance(node, ast.AnnAssign) else []
            targets += node.targets if isinstance(node, ast.Assign) else []
            found.update(prefix + t.id for t in targets if isinstance(t, ast.Name))

    visit(ast.parse(text).body, "")
    return frozenset(found)


def dead_sections(name: str, text: str) -> Iterator[str]:
    """What is cited as `page.md, section N`, `section N of page.md` or `page.md, "Title"` without being a heading.

    In a page `section N` alone is its own. The paper's sections have a capital.
    """
    text = re.sub(r"\[[^]]*\]\(([\w./-]+\.md)[^)]*\)", r"\1", " ".join(text.split()))
    after = re.compile(r'([\w./-]+\.md)`?(?:,|,? \()? ?(section \d+|"[^"]+")')
    before = re.compile(r"(section \d+) of `?([\w./-]+\.md)")
    cited = [*after.findall(text), *((page, what) for what, page in before.findall(text))]
    if name.endswith(".md"):
        own = re.findall(r"\bsection \d+", before.sub("", after.sub("", text)))
        cited += [(name, what) for what in own]
    for page, what in cited:
        titles = [t for file in PAGES if f"/{file}".endswith(f"/{page}") for t in headings(file)]
        if what.startswith("section "):
            there = any(title.startswith(f"{what[8:]}. ") for title in titles)
        else:
            there = what.strip('"') in (title.replace("`", "") for title in titles)
        if not there:
            yield f"{page}: {what}"


def test_links_lead_somewhere() -> None:
    found = {page: list(dead_links(page, read(page))) for page in PAGES}
    assert {page: links for page, links in found.items() if links} == {}


def test_links_to_code_name_what_it_defines() -> None:
    found = {page: list(dead_names(page, read(page))) for page in PAGES}
    assert {page: names for page, names in found.items() if names} == {}


def test_dead_names_are_seen() -> None:
    here = "clipsteer/store/pointers.py"
    bad = (
        f"[`chains_key`](../{here}), [`Pointer.missing`](../{here}), [`main`](../clipsteer/none.py)"
    )
    assert len(list(dead_names("docs/x.md", bad))) == 3
    good = f"[`chain_key`](../{here}), [`Pointer.chain`](../{here}), [`FORMS`](../clipsteer/data/forms.py), "
    good += "[`BASE`](../rules/common.smk), [`train_dictionary`](../rules/dictionaries.smk), [prose](../none.py)"
    assert list(dead_names("docs/x.md", good)) == []


def test_cited_sections_are_there() -> None:
    found = {name: list(dead_sections(name, parts(name)[0])) for name in TEXTS}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize(
    "link",
    ["#nowhere", "store.md#nowhere", "stores.md", "../README.md#speeds", "images/none.png"],
)
def test_dead_links_are_seen(link: str) -> None:
    assert list(dead_links("docs/method.md", f"see [here]({link})")) == [link]


def test_live_links_are_known() -> None:
    text = "[a](#10-measuring) [b](store.md#making-room-gc) [c](../README.md#speed) [d](https://x.org/y)"
    assert list(dead_links("docs/method.md", text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "docs/method.md, section 40",
        "docs/method.md section 0",
        'docs/configuration.md, "Watch mode"',
        "docs/store.md, section 1",
        "section 50 of [the protocol](store-protocol.md)",
    ],
)
def test_dead_sections_are_seen(text: str) -> None:
    assert list(dead_sections("clipsteer/errors.py", text))
    assert list(dead_sections("docs/store-protocol.md", "(section 99)"))
    assert list(dead_sections("docs/store-protocol.md", f"(section 7), {text}, (section 1)"))


def test_live_sections_are_known() -> None:
    text = '(docs/method.md, section 4), docs/configuration.md, "Watch modes"; Section 7.1 of the paper'
    assert list(dead_sections("docs/store-protocol.md", f"{text}; (section 7)")) == []
