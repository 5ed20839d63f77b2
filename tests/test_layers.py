"""The structure: imports only go down, each third-party library has one importer, the client starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "facewatchd"

LAYERS: dict[int, set[str]] = {
    0: {
        "__init__",
        "records",
        "matches",
        "errors",
        "peers",
        "places",
        "installation",
        "exclude",
        "files",
        "ownership",
        "protocol",
        "params",
        "outputs",
        "printing",
        "room",
        "turns",
        "copies",
        "sheetmark",
        "signatures",
        "specimens",
        "reconcile",
        "commandline",
        "linkage",
        "systemd",
        "vitals",
        "setbacks",
        "tally",
        "disk_calls",
        "payload",
    },
    1: {
        "config",
        "datadir",
        "jpeg",
        "photos",
        "contents",
        "decoding",
        "exif",
        "png",
        "tiff",
        "upright",
        "walk",
        "inbox",
        "links",
        "schema",
        "recovery",
        "catalog_reader",
        "catalog",
        "vectors",
        "checkpoint",
        "mounts",
        "memory",
        "priority",
        "progress",
        "logs",
        "models",
    },
    2: {"claims", "twins", "gallery", "results", "feed", "watched", "watcher", "roots", "belief", "inference"},
    3: {"writer", "upkeep", "scanner", "indexer", "search", "verify", "service"},
    4: {"sockets", "conversation", "server"},
    5: {
        "rpc",
        "question",
        "sheet",
        "overview",
        "selftest",
        "doctor",
        "oversight",
        "units",
        "cli_models",
        "cli_photos",
        "cli_service",
        "daemon",
        "client",
        "cli",
        "__main__",
    },
}
LAYER_OF = {module: layer for layer, modules in LAYERS.items() for module in modules}

OWNERS = {
    "PIL": {"decoding", "sheet", "upright"},
    "cv2": {"models.insightface", "jpeg"},
    "_dlib_pybind11": {"models.dlib"},
    "dlib": {"models.dlib"},
    "hnswlib": {"vectors"},
    "insightface": {"models.insightface"},
    "onnxruntime": {"models.insightface"},
    "pathspec": {"exclude"},
    "pillow_heif": {"decoding"},
    "platformdirs": {"places"},
    "requests": {"models.fetch"},
    "simplejpeg": {"jpeg"},
    "imagecodecs": {"jpeg"},
    "tifffile": {"tiff"},
    "sortedcontainers": {"links", "inbox"},
    "tqdm": {"progress"},
    "watchdog": {"feed"},
}
ANYWHERE = {"numpy"}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports(path: Path) -> set[str]:
    """Full names of what a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            module = node.module or ""
            names |= {f"{module}.{alias.name}" if is_module(module, alias.name) else module for alias in node.names}
    return names


def is_module(package: str, name: str) -> bool:
    inner = f"{package}.{name}".removeprefix("facewatchd").lstrip(".")
    return package.startswith("facewatchd") and inner in MODULES


def top(module: str) -> str:
    return module.split(".")[0]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_only_go_down(module: str) -> None:
    assert top(module) in LAYER_OF, "a new module has its layer named here"
    own = LAYER_OF[top(module)]
    for name in imports(MODULES[module]):
        if name.startswith("facewatchd."):
            other = top(name.removeprefix("facewatchd."))
            assert LAYER_OF[other] <= own, f"{module} (layer {own}) imports {name} (layer {LAYER_OF[other]})"


def test_modules_of_a_layer_do_not_go_in_circles() -> None:
    graph = {
        module: {name.removeprefix("facewatchd.") for name in imports(path) if name.startswith("facewatchd.")}
        for module, path in MODULES.items()
    }
    done: set[str] = set()
    while len(done) < len(graph):
        free = {module for module in graph.keys() - done if graph[module] - {module} <= done}
        assert free, f"these import each other: {sorted(graph.keys() - done)}"
        done |= free


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_library_has_one_importer(module: str) -> None:
    for name in imports(MODULES[module]):
        library = top(name)
        if library == "facewatchd" or library in sys.stdlib_module_names or library in ANYWHERE:
            continue
        assert library in OWNERS, f"{library} has no owner"
        assert module in OWNERS[library], f"{module} imports {library}"


def test_every_layer_names_modules_that_exist() -> None:
    existing = {top(module) for module in MODULES} | {"__init__"}
    assert set(LAYER_OF) - existing == set()


@pytest.mark.parametrize("path", sorted(MODULES.values()), ids=lambda path: path.name)
def test_a_module_is_not_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_the_client_starts_on_the_standard_library(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom facewatchd.client import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as exit:\n    assert not exit.code\n"
        "foreign = {name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names) - {'facewatchd'}\n"
        "print('foreign', sorted(name for name in foreign if getattr(sys.modules.get(name), '__file__', None)))"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n{code}", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "foreign ['__main__']" or result.stdout.splitlines()[-1] == "foreign []"
    assert "facewatch-query" in result.stdout
