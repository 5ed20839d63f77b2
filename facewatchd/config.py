"""The configuration: a TOML file and flags become one frozen value.

Every mistake is found here, before anything starts, and names the key and the file it stands in.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from facewatchd import paths as places
from facewatchd.errors import UsageError
from facewatchd.ignore import Exclusion
from facewatchd.system import atomic_files
from facewatchd.threads.bounded_calls import DiskCalls, NotAnsweringError

AUTO_MODEL = "auto"
MAX_THREADS = 1024


@dataclass(frozen=True, slots=True)
class Faces:
    """Which detections count as faces."""

    min_size: int = 40
    """Pixels of the full-size image, on the box's shorter side."""
    min_score: float = 0.5
    detector_size: int = 640
    """Side of the square that the detector sees, in pixels; a multiple of 32."""


@dataclass(frozen=True, slots=True)
class Query:
    """Defaults of a query that says nothing itself."""

    top: int = 20
    threshold: float | None = None
    """None: the model's own."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What the daemon may take of the machine."""

    threads: int = field(default_factory=lambda: min(MAX_THREADS, len(os.sched_getaffinity(0))))
    idle_priority: bool = True
    unload_after: float = 300.0
    """Seconds without inference after which the model's memory is given back; 0: never."""


@dataclass(frozen=True, slots=True)
class Watch:
    """How the disk is followed, in seconds."""

    settle: float = 1.0
    rescan: float = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that a daemon is told."""

    directories: tuple[Path, ...] = ()
    exclude: tuple[str, ...] = ()
    model: str = AUTO_MODEL
    model_root: Path = field(default_factory=places.model_root)
    data_dir: Path = field(default_factory=places.data_path)
    socket: Path = field(default_factory=places.socket_path)
    faces: Faces = Faces()
    query: Query = Query()
    resources: Resources = field(default_factory=Resources)
    watch: Watch = Watch()


@dataclass(frozen=True, slots=True)
class _Defaults:
    faces: Faces = Faces()
    query: Query = Query()
    resources: Resources = field(default_factory=Resources)
    watch: Watch = Watch()


def load(path: Path | None, *, needs_directories: bool = True, **flags: Any) -> Config:
    """Read the file and lay the flags over it. No default is computed for a path that a flag or the file names.

    ``path`` None means the default place, which need not exist. Flags are fields of `Config` and keep the
    file's value where they are None. Raises `UsageError` for anything that cannot be right, which it is also to have
    no directory, unless the caller needs none.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    source = path or default_source(needed="data_dir" not in given)
    paths: dict[str, Path] = {name: given[name] for name in ("data_dir", "socket") if name in given}
    config = replace(_from_table(_read(source, required=path is not None), source, paths), **given)
    if needs_directories and not config.directories:
        raise UsageError(
            "no directory to watch", f"name one (facewatchd run ~/Pictures) or set `directories` in {source}"
        )
    config = replace(
        config,
        directories=_checked_directories(config.directories),
        data_dir=Path(os.path.abspath(config.data_dir)),
        socket=Path(os.path.abspath(config.socket)),
    )
    _refuse_data_among_photos(config)
    _refuse_threshold_without_model(config, source)
    return config


def default_source(*, needed: bool) -> Path:
    """The configuration's default place. Without a home there is none, and no file there, unless it is needed."""
    try:
        return places.config_path()
    except UsageError:
        if needed:
            raise
        return Path(places.NOWHERE, "config.toml")


def _model_root(data_dir: Path | None) -> Path:
    """The default of `model_root`: in the home, or without a home in the data directory that was named."""
    try:
        return places.model_root()
    except UsageError:
        if data_dir is None or data_dir == Path(places.NOWHERE):
            raise
        return Path(os.path.abspath(data_dir), places.MODELS)


def apply_reload(running: Config, wanted: Config) -> tuple[Config, list[str]]:
    """What of a configuration that was read again counts for a running daemon, and the keys that wait for a restart.

    The threshold of queries belongs to a model: with another model, it waits for the restart like that.
    """
    kept = {name: getattr(running.resources, name) for name in ("threads", "idle_priority")}
    query = wanted.query
    if wanted.model != running.model:
        query = replace(query, threshold=running.query.threshold)
    taken = replace(
        running,
        directories=wanted.directories,
        exclude=wanted.exclude,
        query=query,
        resources=replace(wanted.resources, **kept),
        watch=wanted.watch,
    )
    before, after = _flat(taken), _flat(wanted)
    return taken, [key for key in before if before[key] != after[key]]


def _flat(config: Config) -> dict[str, object]:
    """The values by the names of their keys."""
    values: dict[str, object] = {}
    for part in fields(config):
        value = getattr(config, part.name)
        if is_dataclass(value):
            values |= {f"{part.name}.{inner.name}": getattr(value, inner.name) for inner in fields(value)}
        else:
            values[part.name] = value
    return values


def _read(path: Path, *, required: bool) -> dict[str, Any]:
    if path == Path(os.devnull):
        return {}
    try:
        return tomllib.loads(atomic_files.read(path, follow=True).decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError) as exc:
        if not required:
            return {}
        raise UsageError(f"there is no configuration file {path}", "check the path given to --config") from exc
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}", "make it a file that you may read") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path} is not UTF-8 text: byte {exc.start} is not", "save it as UTF-8") from exc
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise UsageError(f"{path} is not valid TOML: {exc}", "mend that line") from exc


def _from_table(table: dict[str, Any], source: Path, paths: dict[str, Path]) -> Config:
    reader = _Table(table, source)
    faces = reader.table("faces")
    query = reader.table("query")
    resources = reader.table("resources")
    watch = reader.table("watch")
    defaults = _Defaults()
    config = Config(
        **paths,
        directories=reader.directories("directories"),
        exclude=reader.patterns("exclude"),
        model=reader.text("model", AUTO_MODEL),
        model_root=reader.directory("model_root") or _model_root(paths.get("data_dir")),
        faces=Faces(
            min_size=int(faces.number("min_size", defaults.faces.min_size, 1, 10_000, whole=True)),
            min_score=faces.number("min_score", defaults.faces.min_score, 0.01, 1),
            detector_size=int(
                faces.number("detector_size", defaults.faces.detector_size, 64, 4096, whole=True, step=32)
            ),
        ),
        query=Query(
            top=int(query.number("top", defaults.query.top, 0, 1_000_000, whole=True)),
            threshold=query.number("threshold", -1, -1, 1) if "threshold" in query else None,
        ),
        resources=Resources(
            threads=int(resources.number("threads", defaults.resources.threads, 1, MAX_THREADS, whole=True)),
            idle_priority=resources.flag("idle_priority", defaults.resources.idle_priority),
            unload_after=resources.number("unload_after", defaults.resources.unload_after, 0, 1e9),
        ),
        watch=Watch(
            settle=watch.number("settle", defaults.watch.settle, 0, 3600),
            rescan=watch.number("rescan", defaults.watch.rescan, 1, 1e9),
        ),
    )
    for part in (reader, faces, query, resources, watch):
        part.finish()
    return config


def _checked_directories(directories: tuple[Path, ...]) -> tuple[Path, ...]:
    """Make the directories absolute, without those named twice, and refuse one inside another.

    A directory that is not there now, or does not answer, is kept: its disk may be mounted later.
    """
    absolute = tuple(dict.fromkeys(Path(os.path.abspath(directory)) for directory in directories))
    real = [_real(directory) for directory in absolute]
    for inner, inner_real in zip(absolute, real, strict=True):
        if _is_no_directory(inner):
            raise UsageError(f"{inner} is not a directory", "name the directory that holds the photos")
        for outer, outer_real in zip(absolute, real, strict=True):
            if inner != outer and inner_real.is_relative_to(outer_real):
                raise UsageError(f"{inner} lies inside {outer}", "name only the outer one: it is watched as a whole")
    return absolute


def _real(directory: Path) -> Path:
    return Path(os.fsdecode(DiskCalls().real(os.fsencode(directory))))


def _is_no_directory(path: Path) -> bool:
    """Whether something else is there. Unlike pathlib's, these calls raise nothing."""
    try:
        return DiskCalls().run(os.fsencode(path), lambda: os.path.exists(path) and not os.path.isdir(path))
    except NotAnsweringError:
        return False


def _refuse_data_among_photos(config: Config) -> None:
    """Every commit would be an event that leads to a commit. What is hidden is not looked at, and so may stay."""
    data = Path(os.path.realpath(config.data_dir))
    for directory in config.directories:
        real = _real(directory)
        if data.is_relative_to(real) and not any(part.startswith(".") for part in data.relative_to(real).parts):
            raise UsageError(f"the data directory {data} lies inside {directory}", "name another with --data-dir")


def _refuse_threshold_without_model(config: Config, source: Path) -> None:
    """Every model has its own scale: with whatever model "auto" takes, the threshold could make every face a match."""
    if config.query.threshold is not None and config.model == AUTO_MODEL:
        raise UsageError(
            f'`query.threshold` in {source} is {config.query.threshold:g}, but the model is "auto", and every model '
            "has its own scale",
            "set `model` to the one that the threshold is for, or leave the threshold out",
        )


class _Table:
    """One TOML table, read key by key; `finish` refuses what nobody asked for."""

    def __init__(self, values: dict[str, Any], source: Path, prefix: str = "") -> None:
        self._values = values
        self._source = source
        self._prefix = prefix
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def table(self, key: str) -> _Table:
        values = self._take(key, {})
        if not isinstance(values, dict):
            raise self._wrong(key, "a table")
        return _Table(values, self._source, f"{key}.")

    def strings(self, key: str) -> tuple[str, ...]:
        values = self._take(key, [])
        if not isinstance(values, list) or not all(_is_text(value) for value in values):
            raise self._wrong(key, "a list of strings, none of them empty")
        return tuple(values)

    def patterns(self, key: str) -> tuple[str, ...]:
        patterns = self.strings(key)
        try:
            Exclusion(patterns)
        except ValueError as exc:
            raise self._wrong(key, f"a list of gitignore patterns ({exc})") from exc
        return patterns

    def text(self, key: str, default: str) -> str:
        value = self._take(key, default)
        if not _is_text(value):
            raise self._wrong(key, "a string that is not empty")
        return str(value)

    def directory(self, key: str) -> Path | None:
        return self._directory(key, self.text(key, "")) if self._take(key, None) is not None else None

    def directories(self, key: str) -> tuple[Path, ...]:
        return tuple(self._directory(key, text) for text in self.strings(key))

    def _directory(self, key: str, text: str) -> Path:
        # TOML is UTF-8, and so are the names it means, whatever the locale says of names.
        path = os.path.expanduser(os.fsdecode(text.encode()))
        if path.startswith("~"):
            raise self._wrong(key, "the path of a directory; `~` is your own home, `~name` that of a user who exists")
        if not Path(path).is_absolute():
            raise self._wrong(key, "an absolute path, or one that begins with `~/`")
        return Path(path)

    def flag(self, key: str, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def number(self, key: str, default: float, low: float, high: float, *, whole: bool = False, step: int = 1) -> float:
        value = self._take(key, default)
        kind = "a whole number" if whole else "a number"
        multiple = f", a multiple of {step}" if step > 1 else ""
        allowed = (int,) if whole else (int, float)
        wrong_type = isinstance(value, bool) or not isinstance(value, allowed)
        if wrong_type or not low <= value <= high or (whole and value % step):
            raise self._wrong(key, f"{kind} from {low:.10g} to {high:.10g}{multiple}")
        return float(value)

    def finish(self) -> None:
        for key in self._values:
            if key not in self._known:
                known = ", ".join(sorted(self._known))
                raise UsageError(f"unknown key `{self._prefix}{key}` in {self._source}", f"the keys here are: {known}")

    def _take(self, key: str, default: Any) -> Any:
        self._known.add(key)
        return self._values.get(key, default)

    def _wrong(self, key: str, expected: str) -> UsageError:
        value = self._values.get(key)
        return UsageError(f"`{self._prefix}{key}` in {self._source} is {value!r}", f"it must be {expected}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value
