"""The plan: which package may import which, which module each third-party library, and what the commands start with."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import PROJECT

PACKAGE = PROJECT / "facewatchd"

LEAVES = {"__init__", "errors", "fields", "matches", "text", "ignore"}
"""Modules of the top level that import nothing of the project. Every module may import them."""

MAY_IMPORT = {
    package: set(others.split())
    for package, others in {
        "values": "",
        "engine_url": "",
        "paths": "",
        "threads": "values",
        "system": "values",
        "console": "system",
        "config": "engine_url paths system threads",
        "photos": "system values",
        "pictures": "photos system values",
        "server": "system",
        "folders": "paths system",
        "client": "console folders paths pictures server system",
        "models": "config system values",
        "inference": "config console models photos system values",
        "store": "models photos system threads values",
        "shared": "client config console engine_url inference models paths server store system values",
        "people": "store system threads values",
        "expectation": "store threads values",
        "scan": "paths photos store system threads values",
        "watch": "system threads values",
        "indexing": "inference people photos scan store system threads values",
        "health": "client expectation indexing people scan server store threads values watch",
        "api": (
            "config expectation health indexing inference models people photos scan server shared store threads values"
        ),
        "daemon": (
            "api config console expectation health indexing inference models paths people scan server shared store"
            " system threads values watch"
        ),
        "page": "client console paths pictures server system",
        "service": "config engine_url paths system",
        "doctor": (
            "client config models paths people photos scan server service shared store system threads values watch"
        ),
        "cli": "client config console daemon doctor models page paths people service store system values",
        "__main__": "cli",
    }.items()
}
"""The packages, and the other modules of the top level, from the bottom to the top."""

OWNERS = {  # modules, or whole packages
    "PIL": {
        "photos.decode",
        "photos.thumbnail",
        "photos.upright",
        "pictures.elsewhere",
        "pictures.scenes",
        "pictures.fonts",
        "pictures.labelled",
        "pictures.pages",
        "pictures.sheet",
        "pictures.target",
        "pictures.terminal",
    },
    "defusedxml": {"photos.packets"},
    "cv2": {"models.insightface", "models.opencv", "models.pipeline", "models.reference", "models.views"},
    "hnswlib": {"store.graph"},
    "insightface": {"models.insightface"},
    "onnx": {"models.graphs"},
    "onnxruntime": {"models.sessions"},
    "jinja2": {"page.view", "pictures.album"},
    "pathspec": {"ignore"},
    "pillow_heif": {"photos.decode"},
    "platformdirs": {"paths"},
    "psycopg": {"shared.postgres"},
    "requests": {"models.install"},
    "simplejpeg": {"photos.jpeg"},
    "imagecodecs": {"photos.jpeg"},
    "tifffile": {"photos.tiff"},
    "sortedcontainers": {"scan.links", "scan.work_queue"},
    "starlette": {"page"},
    "tqdm": {"console.progress"},
    "uvicorn": {"page.server"},
    "watchdog": {"watch.inotify"},
}
ANYWHERE = {"numpy"}
DECODERS_AND_MODELS = {"photos", "models"}
"""Packages whose libraries run in processes of their own."""

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


@cache
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


def packages_of(module: str) -> set[str]:
    """The other packages, and modules of the top level, that a module imports."""
    names = {name.removeprefix("facewatchd.") for name in imports(MODULES[module]) if name.startswith("facewatchd.")}
    return {top(name) for name in names} - {top(module)}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_what_the_table_allows(module: str) -> None:
    own = top(module)
    if own not in LEAVES:
        assert own in MAY_IMPORT, f"{own} is not in the table"
        assert packages_of(module) <= MAY_IMPORT[own] | LEAVES
    else:
        assert packages_of(module) == set()


def test_the_table_only_goes_down_and_allows_no_more_than_is_used() -> None:
    above: set[str] = set()
    for package, allowed in MAY_IMPORT.items():
        assert allowed <= above, f"{package} may import what stands below it in the table"
        above.add(package)
        used = {each for module in MODULES if top(module) == package for each in packages_of(module)}
        assert allowed == used - LEAVES, f"{package} imports less than the table allows"


def test_modules_do_not_import_each_other_in_circles() -> None:
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
        assert {module, module.rpartition(".")[0], top(module)} & OWNERS[library], f"{module} imports {library}"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_the_client_starts_on_the_standard_library(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom facewatchd.client.app import main\n"
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


def loaded_with(*modules: str) -> set[str]:
    """The packages that are loaded once these modules are."""
    code = f"import sys, {', '.join(modules)}\nprint(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT).stdout
    return {top(name) for name in loaded.split()}


def decoders_and_models() -> set[str]:
    libraries = {name for name, owners in OWNERS.items() if {top(owner) for owner in owners} & DECODERS_AND_MODELS}
    assert {"PIL", "onnxruntime"} <= libraries
    return libraries


def test_the_daemon_loads_no_decoder_no_model_and_no_network() -> None:
    """They would cost each start 0.1 s of a processor and 11 MB, and only other processes run them."""
    assert loaded_with("facewatchd.daemon.run") & (decoders_and_models() | {"psycopg"}) == set()


def test_the_process_with_the_network_loads_no_decoder_no_model_and_no_index() -> None:
    loaded = loaded_with("facewatchd.shared.app", "facewatchd.shared.postgres.engine")
    assert "psycopg" in loaded
    assert loaded & (decoders_and_models() | {"hnswlib"}) == set()
