"""The configuration: a TOML file and flags become one frozen value. Its keys are declared here, once (`fields`).

Every mistake is found before anything starts; its message names the key and the file.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from socket import gethostname
from typing import Any

from facewatchd import engine_url, paths
from facewatchd.errors import UsageError
from facewatchd.fields import (
    Choice,
    Computed,
    FieldError,
    Flag,
    Kind,
    Number,
    Object,
    UnknownNameError,
    Whole,
    WrongValueError,
    describe,
    optional,
    present,
    required,
)
from facewatchd.ignore import Exclusion
from facewatchd.system import atomic_files
from facewatchd.text import printable
from facewatchd.threads.bounded_calls import DiskCalls, NotAnsweringError

AUTO_MODEL = "auto"
AUTO_DEVICE, CPU = "auto", "cpu"
DEVICES = (CPU, AUTO_DEVICE, "cuda", "migraphx", "rocm", "openvino")
"""What is known of each is in `models.devices`, in the same order."""
LOCAL, SHARED = INDEXES = ("local", "shared")
"""Where the faces of this machine are searched: in its own index, or in that of the shared engine alone."""
MAX_THREADS = 1024
LONGEST_NAME = 64
"""Characters of a machine's name: as many as Linux allows in a host name (hostname(7))."""
_MOST_SHOWN = 100
"""Characters of a wrong value that a message repeats."""


# Kinds of values that only the configuration has


class _Text(Kind[str]):
    words = "a string that is not empty"

    def read(self, value: object, name: str) -> str:
        if not _is_text(value):
            raise WrongValueError(name, value, self.words)
        return str(value)


class _Directory(Kind[Path]):
    words = "an absolute path, or one that begins with `~/`"

    def read(self, value: object, name: str) -> Path:
        # TOML is UTF-8, and so are the paths in it, whatever the locale's encoding of names is.
        path = os.path.expanduser(os.fsdecode(_Text().read(value, name).encode()))
        if path.startswith("~"):
            expected = "the path of a directory; `~` is your own home, `~name` that of a user who exists"
            raise WrongValueError(name, value, expected)
        if not Path(path).is_absolute():
            raise WrongValueError(name, value, self.words)
        return Path(path)


class _Strings(Kind[tuple[str, ...]]):
    words = "a list of strings, none of them empty"

    def read(self, value: object, name: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(map(_is_text, value)):
            raise WrongValueError(name, value, self.words)
        return tuple(value)


class _Directories(Kind[tuple[Path, ...]]):
    words = f"a list, each {_Directory.words}"

    def read(self, value: object, name: str) -> tuple[Path, ...]:
        try:
            return tuple(_Directory().read(text, name) for text in _Strings().read(value, name))
        except WrongValueError as exc:
            raise WrongValueError(name, value, exc.expected) from exc


class _Patterns(Kind[tuple[str, ...]]):
    words = "a list of gitignore patterns"

    def read(self, value: object, name: str) -> tuple[str, ...]:
        patterns = _Strings().read(value, name)
        try:
            Exclusion(patterns)
        except ValueError as exc:
            raise WrongValueError(name, value, f"{self.words} ({exc})") from exc
        return patterns


class _NotTakenError(FieldError):
    """A value that is not repeated in the message, as it may hold a secret."""

    def __init__(self, name: str, fault: str, way: str) -> None:
        super().__init__(f"{name} {fault}")
        self.name = name
        self.fault = fault
        self.way = way


class _Address(Kind[str]):
    words = "a `postgresql://` URI without a password"

    def read(self, value: object, name: str) -> str:
        if not isinstance(value, str):
            raise _NotTakenError(name, "is not a string", f"it must be {self.words}")
        try:
            return engine_url.read(value).url
        except engine_url.UnsafeAddressError as exc:
            raise _NotTakenError(name, exc.fault, exc.way) from exc


class _MachineName(Kind[str]):
    words = f"a name of 1 to {LONGEST_NAME} characters, without `:`, `/`, control characters and spaces around it"

    def read(self, value: object, name: str) -> str:
        if not isinstance(value, str) or not is_machine_name(value):
            raise WrongValueError(name, value, self.words)
        return value


def is_machine_name(name: str) -> bool:
    """Whether a machine may have this name: `NAME:PATH` is told apart in one way, and printed on one line."""
    return (
        0 < len(name) <= LONGEST_NAME and name == name.strip() and printable(name) == name and not set(name) & {*":/"}
    )


def _host_name() -> str:
    name = gethostname()
    if not is_machine_name(name):
        raise UsageError(f"this machine's host name is {name!r}, which cannot be its name", "set `shared.name`")
    return name


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


# The keys


@dataclass(frozen=True, slots=True)
class Faces:
    """Which detections count as faces."""

    min_size: int = optional(
        Whole(1, 10_000), "Smallest face that is indexed: pixels of the full-size photo, on the box's shorter side.", 40
    )
    min_score: float = optional(Number(0.01, 1), "Lowest score of the detector that counts as a face.", 0.5)
    second_look: bool = optional(
        Flag(),
        "Whether photos that may show more faces are looked at again when idle, turned and in tiles.",
        True,
    )
    detector_size: int | None = optional(
        Whole(64, 4096, step=32),
        "Side of the square in which the detector sees a photo, in pixels.",
        Computed(lambda: None, "the photo's longest side, from 640 to what the model is worth: 960 or 1280"),
    )


@dataclass(frozen=True, slots=True)
class Query:
    """Defaults of the parameters of a query."""

    top: int = optional(Whole(0, 1_000_000), "Most photos in an answer; 0 is all.", 20)
    threshold: float | None = optional(
        Number(-1, 1),
        "Similarity from which a face matches, as `--threshold`; allowed only beside a `model` other than `auto`.",
        Computed(lambda: None, "the model's own"),
    )


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits on the processor time and the memory that the daemon uses."""

    threads: int = optional(
        Whole(1, MAX_THREADS),
        "Threads that index.",
        Computed(lambda: min(MAX_THREADS, len(os.sched_getaffinity(0))), "one for each processor"),
    )
    idle_priority: bool = optional(
        Flag(),
        "Whether indexing runs in the idle scheduling classes of processor and disk.",
        True,
    )
    device: str = optional(
        Choice(DEVICES),
        "What computes the model; `auto`: a device that ONNX Runtime was built for, if it works, else the processor.",
        AUTO_DEVICE,
    )
    thumbnails: int = optional(
        Whole(0, 1 << 20),
        "MiB of small pictures of faces and photos that are kept, at most; 0 keeps none.",
        3000,
    )
    unload_after: float = optional(
        Number(0, 1e9), "Seconds without work after which the model's memory is given back; 0 is never.", 300.0
    )


@dataclass(frozen=True, slots=True)
class Watch:
    """How the disk is followed."""

    settle: float = optional(Number(0, 3600), "Seconds without a change after which a new file is read.", 1.0)
    rescan: float = optional(
        Number(1, 1e9),
        "Seconds between two walks, which find changes that no event reported.",
        6 * 3600.0,
    )


@dataclass(frozen=True, slots=True)
class Shared:
    """The shared engine. Without this table there is none."""

    url: str = required(
        _Address(),
        "The database; the password is in a passfile or a systemd credential. `sslmode` must be `verify-full`, except "
        "for loopback addresses and Unix sockets.",
    )
    name: str = optional(
        _MachineName(),
        "The name of this machine, as the others show it.",
        Computed(_host_name, "the host name"),
    )
    index: str = optional(
        Choice(INDEXES),
        "`shared`: there is no index on this machine, and only the engine is asked; for archives that do not fit its "
        "memory.",
        LOCAL,
    )
    send: bool = optional(
        Flag(), "Whether the faces and paths of this machine are sent; else the others' are only asked for.", True
    )
    timeout: float = optional(Number(0.05, 60), "Seconds that an answer waits for the engine.", 2.0)


@dataclass(frozen=True, slots=True)
class Config:
    """The keys of the file, and two paths that only flags set."""

    directories: tuple[Path, ...] = optional(_Directories(), "The directories whose photos are indexed.", ())
    exclude: tuple[str, ...] = optional(
        _Patterns(),
        "Patterns of paths that are not indexed, as in a `.gitignore` at the top of each directory.",
        (),
    )
    model: str = optional(
        _Text(),
        "Name of a model pack, or a directory that holds one; `auto` keeps the pack that was used last.",
        AUTO_MODEL,
    )
    model_root: Path = optional(
        _Directory(),
        "Directory below which packs are looked for and fetched to.",
        Computed(paths.model_root, "~/.insightface"),
    )
    data_dir: Path = field(default_factory=paths.data_path)
    socket: Path = field(default_factory=paths.socket_path)
    faces: Faces = optional(Object(Faces, "a table"), "", Faces())
    query: Query = optional(Object(Query, "a table"), "", Query())
    resources: Resources = optional(Object(Resources, "a table"), "", Computed(Resources, ""))
    watch: Watch = optional(Object(Watch, "a table"), "", Watch())
    shared: Shared | None = optional(Object(Shared, "a table"), "", None)


KEYS = describe(Config)
"""The keys of the file, in words, for the manual page."""


def load(path: Path | None, *, needs_directories: bool = True, **flags: Any) -> Config:
    """Read the file; flags replace its values. No default is computed for a path that a flag or the file names.

    ``path`` None is the default path, where no file need exist. Flags are fields of `Config`; None keeps the file's
    value. Raises `UsageError` for any mistake; to have no directory is one where ``needs_directories``.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    source = path or default_source(needed="data_dir" not in given)
    given_paths: dict[str, Any] = {name: given[name] for name in ("data_dir", "socket") if name in given}
    config = replace(_from_table(_read(source, required=path is not None), source, given_paths), **given)
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
    _refuse_unfindable(config, source)
    return config


def default_source(*, needed: bool) -> Path:
    """Return the default path of the file. Without a home there is none: an error only where it is ``needed``."""
    try:
        return paths.config_path()
    except UsageError:
        if needed:
            raise
        return Path(paths.NOWHERE, "config.toml")


def _model_root(data_dir: Path | None) -> Path:
    """The default of `model_root`: in the home, or without a home in the data directory that was named."""
    try:
        return paths.model_root()
    except UsageError:
        if data_dir is None or data_dir == Path(paths.NOWHERE):
            raise
        return Path(os.path.abspath(data_dir), paths.MODELS)


def apply_reload(running: Config, wanted: Config) -> tuple[Config, list[str]]:
    """Return the configuration of a running daemon after a reload, and the keys that count only after a restart.

    The threshold of queries belongs to a model: where the model changes, both wait for the restart. So do a `[shared]`
    that comes or goes, where the index is, and whether an outbox is kept (`send`). `url` and `name` are
    facewatch-share's.
    """
    kept = {name: getattr(running.resources, name) for name in ("threads", "idle_priority", "device", "thumbnails")}
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
        shared=_shared_after_reload(running.shared, wanted.shared),
    )
    return taken, _differing(taken, wanted)


def _shared_after_reload(running: Shared | None, wanted: Shared | None) -> Shared | None:
    return replace(wanted, index=running.index, send=running.send) if running and wanted else running


def _differing(one: Any, other: Any, where: str = "") -> list[str]:
    """The full names of the keys whose values differ; of a table that only one has, the table's."""
    names: list[str] = []
    for part in fields(one):
        first, second = getattr(one, part.name), getattr(other, part.name)
        if is_dataclass(first) and is_dataclass(second):
            names += _differing(first, second, f"{part.name}.")
        elif first != second:
            names.append(where + part.name)
    return names


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
    except (ValueError, RecursionError) as exc:  # ValueError: also a number of more than 4300 digits
        raise UsageError(f"{path} is not valid TOML: {exc}", "correct that line") from exc


def _from_table(table: dict[str, Any], source: Path, given_paths: dict[str, Any]) -> Config:
    try:
        values = present(Config, table)
    except WrongValueError as exc:
        shown = "missing" if exc.value is None else "no table" if exc.name == "shared" else _shown(exc.value)
        raise UsageError(f"`{exc.name}` in {source} is {shown}", f"it must be {exc.expected}") from exc
    except _NotTakenError as exc:
        raise UsageError(f"`{exc.name}` in {source} {exc.fault}", exc.way) from exc
    except UnknownNameError as exc:
        known = ", ".join(sorted(exc.known))
        raise UsageError(f"unknown key `{exc.name}` in {source}", f"the keys here are: {known}") from exc
    if "model_root" not in values:
        values["model_root"] = _model_root(given_paths.get("data_dir"))
    return Config(**given_paths, **values)


def _shown(value: object) -> str:
    """A value of the file on one line, cut where it is long. Addresses are not shown: they may hold a password."""
    try:
        text = repr(value)
    except ValueError:  # a hexadecimal number, which is read whatever its length, and has more than 4300 digits
        return "a number of thousands of digits"
    if "://" in text:
        return "an address"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _checked_directories(directories: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the directories, absolute and each once. Raises `UsageError` for one inside another.

    A directory that does not exist, or does not answer, is kept: its disk may be mounted later.
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
    """Whether the path exists and is no directory. The calls of `os.path`, unlike pathlib's, raise nothing."""
    try:
        return DiskCalls().run(os.fsencode(path), lambda: os.path.exists(path) and not os.path.isdir(path))
    except NotAnsweringError:
        return False


def _refuse_data_among_photos(config: Config) -> None:
    """A commit in a watched directory would be an event that leads to a commit. Hidden directories are not watched."""
    data = Path(os.path.realpath(config.data_dir))
    for directory in config.directories:
        real = _real(directory)
        if data.is_relative_to(real) and not any(part.startswith(".") for part in data.relative_to(real).parts):
            raise UsageError(f"the data directory {data} lies inside {directory}", "name another with --data-dir")


def _refuse_threshold_without_model(config: Config, source: Path) -> None:
    """Each model has its own scale: with the model that "auto" takes, every face could be a match."""
    if config.query.threshold is not None and config.model == AUTO_MODEL:
        raise UsageError(
            f'`query.threshold` in {source} is {config.query.threshold:g}, but the model is "auto", and every model '
            "has its own scale",
            "set `model` to the one that the threshold is for, or leave the threshold out",
        )


def _refuse_unfindable(config: Config, source: Path) -> None:
    """Where only the engine is asked, and nothing is sent to it, no photo of this machine would ever be found."""
    if config.shared and config.shared.index == SHARED and not config.shared.send:
        raise UsageError(
            f'`shared.index` in {source} is "shared", but `shared.send` is false: no photo here would be found',
            'set `send` to true, or `index` to "local"',
        )
