"""Code that runs first in the processes of a test: a ``sitecustomize`` module on ``PYTHONPATH``.

A hook replaces constants and functions of modules and classes. One that names what is not there replaces nothing, and
the test would hold for another reason than it seems. So a hook must not make new names: what assigns to an attribute of
a module or a class that has none of that name, to an unknown keyword default, or fails in any other way, ends its
process with `STATUS`, and `check` fails the test.
"""

from __future__ import annotations

import ast
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

STATUS = 70
"""EX_SOFTWARE of sysexits(3): the exit status of a process whose hook failed."""
_FAILED = "failed"

_START = """\
import os, sys
sys.path.append({tests!r})
import hooks
sys.path.remove({tests!r})
hooks.run(os.path.dirname(__file__))
"""


def add(place: Path, code: str) -> None:
    """Have processes with ``place`` in their ``PYTHONPATH`` run ``code`` first, after what was added before."""
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(_START.format(tests=str(Path(__file__).parent)))
    with (place / "hooked").open("a") as file:
        file.write(code + "\n")


def clear(place: Path) -> None:
    """Have processes run nothing from now on."""
    (place / "sitecustomize.py").unlink(missing_ok=True)
    (place / "hooked").unlink(missing_ok=True)


def check(place: Path) -> None:
    """Fail if a hook failed in any process."""
    failed = place / _FAILED
    assert not failed.exists(), f"a hook failed:\n{failed.read_text()}"


def run(place: str) -> None:
    """Run what was added; called by ``sitecustomize``. Ends the process where that fails."""
    path = Path(place) / "hooked"
    try:
        tree = ast.fix_missing_locations(_Checking().visit(ast.parse(path.read_text(), str(path))))
        exec(compile(tree, str(path), "exec"), {"__name__": "hooked", "setattr": _set, "_is_there": _is_there})
    except BaseException:  # noqa: BLE001 - CPython would print one line and go on
        report = traceback.format_exc()
        with (Path(place) / _FAILED).open("a") as file:
            file.write(report)
        sys.stderr.write(report)
        sys.stderr.flush()
        os._exit(STATUS)


class _Checking(ast.NodeTransformer):
    """Puts a call of `_is_there` before each assignment to an attribute, or to an item of one that is a mapping."""

    def visit_Assign(self, node: ast.Assign) -> list[ast.stmt]:
        self.generic_visit(node)
        places = [place for target in node.targets for place in _places(target)]
        return [*(_checked(holder, name) for holder, name in places), node]


def _places(target: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """What an assignment changes: pairs of an object and a name in it."""
    if isinstance(target, (ast.Tuple, ast.List)):
        return [place for each in target.elts for place in _places(each)]
    if isinstance(target, ast.Attribute):
        return [(target.value, ast.Constant(target.attr))]
    if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Attribute):
        return [(target.value, target.slice)]
    return []


def _checked(holder: ast.expr, name: ast.expr) -> ast.stmt:
    loaded = ast.parse(ast.unparse(holder), mode="eval").body
    return ast.Expr(ast.Call(ast.Name("_is_there", ast.Load()), [loaded, name], []))


def _is_there(holder: object, name: object) -> None:
    if isinstance(holder, (ModuleType, type)) and not hasattr(holder, str(name)):
        raise AttributeError(f"{holder!r} has no {name!r} that could be replaced")
    if isinstance(holder, Mapping) and name not in holder:
        raise KeyError(f"{name!r} is not among {sorted(map(str, holder))}")


def _set(holder: object, name: str, value: object) -> None:
    _is_there(holder, name)
    setattr(holder, name, value)
