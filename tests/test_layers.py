"""Imports go down the layers only (docs/architecture.md). A new room must be given a layer here."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

import speechre

SRC = Path(speechre.__file__).parent

# A room is a module or a package right under speechre/.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"types", "schema", "schemas", "errors", "strict_yaml", "digests"}),
    frozenset({"orders", "linearize", "grammar", "parse", "vote", "calibration"})
    | frozenset({"metrics", "significance", "reliability", "config", "limits", "graph"}),
    frozenset({"audio", "audio_files", "containers", "samples", "page", "data", "graph_formats"}),
    frozenset({"model", "reader"}),
    frozenset({"decode"}),
    frozenset({"train", "evaluate", "extract"}),
    frozenset({"serve", "bulk", "finetune"}),
    frozenset({"cli", "__main__"}),
)
LAYER_OF = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
STANDARD_LIBRARY_ONLY = 1  # up to this layer
FIRST_WITH_TORCH = 3
SEPARATE_ROOMS = {5, 6}  # rooms of these layers never import each other

# An Extraction converts itself, because people look for that on the object they hold: inside those methods, and nowhere
# else, layer 0 opens these rooms. docs/architecture.md says so too.
CONVERSIONS = {("types.py", "graph"), ("types.py", "graph_formats")}

# What pyproject.toml requires: everything else is optional and imported inside functions.
REQUIRED = {"torch", "numpy", "soundfile", "soxr", "safetensors", "tokenizers", "yaml", "rich"}
FORBIDDEN_NAMES = {"utils", "common", "helpers", "base", "manager"}


@dataclass(frozen=True)
class Import:
    """``importer`` (a path under speechre/) names ``module`` in ``line``."""

    importer: str
    line: int
    module: str
    is_in_function: bool = False
    is_for_types: bool = False

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.module}"


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def walk(node: ast.AST, in_function: bool = False, for_types: bool = False) -> Iterator[tuple[ast.AST, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        types = for_types or is_type_checking(child)
        yield child, inside, types
        yield from walk(child, inside, types)


def imports_of(source: str, importer: str) -> Iterator[Import]:
    package = ("speechre", *Path(importer).parts[:-1])
    for node, in_function, for_types in walk(ast.parse(source, importer)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (start, node.module) if part)
            # In full: "from speechre import vote" names a module, "from speechre.vote import vote" does not.
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in dict.fromkeys(names):
            yield Import(importer, node.lineno, name, in_function, for_types)


def room_of(importer: str) -> str:
    """``data/store.py`` -> ``data``, ``vote.py`` -> ``vote``."""
    return Path(importer).parts[0].removesuffix(".py")


def module_of(importer: str) -> str:
    """``data/store.py`` -> ``speechre.data.store``, ``data/__init__.py`` -> ``speechre.data``."""
    return ".".join(("speechre", *Path(importer).with_suffix("").parts)).removesuffix(".__init__")


def room_named_by(module: str) -> str | None:
    """The room that an import of ``speechre.x.y`` enters; None for other packages and for mere names."""
    parts = module.split(".")
    if parts[0] != "speechre" or len(parts) == 1:
        return None
    return parts[1] if parts[1] in LAYER_OF or (SRC / parts[1]).exists() else None


SOURCES = {p.relative_to(SRC).as_posix(): p.read_text(encoding="utf-8") for p in sorted(SRC.rglob("*.py"))}
# The package's own __init__ is the front door: it names rooms of every layer, lazily. See the tests below.
INSIDE = {importer: list(imports_of(text, importer)) for importer, text in SOURCES.items() if importer != "__init__.py"}
ALL = [found for imports in INSIDE.values() for found in imports]


def upward(found: Import) -> bool:
    room, target = room_of(found.importer), room_named_by(found.module)
    if target is None or target == room or (found.is_in_function and (found.importer, target) in CONVERSIONS):
        return False
    low, high = LAYER_OF[target], LAYER_OF[room]
    return low > high or (low == high and low in SEPARATE_ROOMS)


def not_standard(found: Import) -> bool:
    top = found.module.split(".")[0]
    if top == "speechre" or top in sys.stdlib_module_names:
        return False
    return not (top == "yaml" and found.is_in_function)


def circle_in(inside: Mapping[str, Sequence[Import]]) -> list[str]:
    """Modules of which each imports the next when it is loaded, and the last the first; none: an empty list."""
    modules = {module_of(importer): importer for importer in inside}

    def module_in(dotted: str) -> str | None:
        parts = dotted.split(".")
        prefixes = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
        return next((prefix for prefix in prefixes if prefix in modules), None)

    graph = {
        module: {
            target
            for i in inside[importer]
            if not (i.is_in_function or i.is_for_types) and (target := module_in(i.module))
        }
        - {module}
        for module, importer in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle[::-1]  # the sorter names what is imported before who imports it
    return []


def test_every_room_has_a_layer() -> None:
    rooms = {room_of(importer) for importer in INSIDE}
    assert not rooms - set(LAYER_OF), "give the new room a layer in LAYERS and in docs/architecture.md"


def test_imports_go_down_only() -> None:
    assert [str(i) for i in ALL if upward(i)] == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    assert circle_in(INSIDE) == []


def test_meaning_is_standard_library_only() -> None:
    low = [i for i in ALL if LAYER_OF[room_of(i.importer)] <= STANDARD_LIBRARY_ONLY and not i.is_for_types]
    assert [str(i) for i in low if not_standard(i)] == []


def test_torch_starts_in_model() -> None:
    below = [i for i in ALL if LAYER_OF[room_of(i.importer)] < FIRST_WITH_TORCH]
    assert [str(i) for i in below if i.module.split(".")[0] == "torch"] == []


def test_optional_dependencies_are_imported_inside_functions() -> None:
    known = REQUIRED | {"speechre"} | set(sys.stdlib_module_names)
    eager = [i for i in ALL if not (i.is_in_function or i.is_for_types)]
    assert [str(i) for i in eager if i.module.split(".")[0] not in known] == []


def test_nothing_has_a_name_that_says_nothing() -> None:
    names = {part.removesuffix(".py") for importer in SOURCES for part in Path(importer).parts}
    assert not names & FORBIDDEN_NAMES


def test_the_front_door_opens_light_rooms_only() -> None:
    eager = [i for i in imports_of(SOURCES["__init__.py"], "__init__.py") if not i.is_for_types]
    rooms = {room for i in eager if (room := room_named_by(i.module))}
    assert {LAYER_OF[room] for room in rooms} <= {0, 1}


@pytest.mark.parametrize("heavy", [["torch", "numpy", "rich", "yaml", "soundfile"]])
def test_import_speechre_loads_nothing_heavy(heavy: list[str]) -> None:
    code = f"import sys, speechre; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(set(speechre.__all__)))
def test_every_export_is_there(name: str) -> None:
    assert getattr(speechre, name) is not None
    assert name in dir(speechre)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'extractor_of_everything'"):
        _ = speechre.extractor_of_everything


def test_the_version_is_the_packages() -> None:
    text = (SRC.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{speechre.__version__}"' in text


# -- the test itself is tested: a rule that cannot fail proves nothing


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("vote.py", "from speechre.model.network import Network"),
        ("vote.py", "from speechre import model"),
        ("vote.py", "def f():\n    import speechre.cli"),
        ("data/store.py", "from ..model import network"),
        ("train/loop.py", "from speechre.evaluate.run import evaluate"),
        ("serve/app.py", "import speechre.bulk.shards"),
        ("types.py", "from speechre.graph import build_graph"),
        ("types.py", "def f():\n    from speechre.extract.extractor import Extractor"),
        ("schema.py", "def f():\n    from speechre.graph import build_graph"),
    ],
)
def test_an_upward_import_is_found(importer: str, source: str) -> None:
    assert [i for i in imports_of(source, importer) if upward(i)]


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("vote.py", "from speechre.metrics import normalize_text"),
        ("vote.py", "from speechre import __version__"),
        ("train/loop.py", "from . import state\nfrom .state import State\nfrom ..decode import search"),
        ("cli/__init__.py", "import speechre.serve, speechre.bulk, speechre.types"),
        ("types.py", "class E:\n    def to_rdf(self):\n        from speechre.graph_formats.rdf import to_rdf"),
    ],
)
def test_a_downward_import_is_fine(importer: str, source: str) -> None:
    assert not [i for i in imports_of(source, importer) if upward(i)]


@pytest.mark.parametrize(
    ("import_back", "expected"),
    [
        ("from speechre.metrics import judge", {"speechre.vote", "speechre.metrics", "speechre.data.store"}),
        ("def f():\n    from speechre.metrics import judge", set()),
        ("if TYPE_CHECKING:\n    from speechre.metrics import Judge", set()),
    ],
)
def test_a_circle_is_found_but_not_inside_functions_and_for_types(import_back: str, expected: set[str]) -> None:
    sources = {
        "vote.py": "from speechre.data import store",
        "data/__init__.py": "",
        "data/store.py": import_back,
        "metrics.py": "import speechre.vote, json",
    }
    found = circle_in({importer: list(imports_of(source, importer)) for importer, source in sources.items()})
    assert set(found) == expected
    arrows = {("speechre.vote", "speechre.data.store"), ("speechre.metrics", "speechre.vote")}
    assert set(pairwise(found)) == (arrows | {("speechre.data.store", "speechre.metrics")} if expected else set())


def test_a_foreign_import_below_is_found_but_yaml_inside_a_function_is_fine() -> None:
    assert [not_standard(i) for i in imports_of("import torch, json, yaml", "config.py")] == [
        True,
        False,
        True,
    ]
    assert [not_standard(i) for i in imports_of("def f():\n    import yaml", "config.py")] == [False]
