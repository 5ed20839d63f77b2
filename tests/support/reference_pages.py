"""The man pages facewatchd.toml(5) and facewatchd-protocol(7), made from the declarations that the code checks.

Keys and parameters, with types, bounds, defaults and meanings, are those of `facewatchd.config` and
`facewatchd.api.parameters`; states, error kinds and limits are the constants and classes of their modules. Only the
prose between them stands here.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace

from facewatchd import config, engine_url, errors
from facewatchd.api import export_format, parameters
from facewatchd.fields import Description
from facewatchd.matches import TOO_BLURRED
from facewatchd.server import jsonrpc, listener
from facewatchd.values import SMALL_SIDE, DaemonState, PhotoState, RootState
from tests.support.man_pages import example, item, plain, running, section, see_also

EXAMPLE = """\
directories = ["~/Pictures", "/mnt/photos"]
exclude = ["*.xmp", "thumbnails/", "/private/"]
model = "buffalo_l"

[query]
threshold = 0.45

[resources]
threads = 2
unload_after = 60

[shared]
url = "postgresql://facewatch@nas.lan/facewatch?sslmode=verify-full&sslrootcert=/etc/ssl/nas.crt"
name = "laptop"
"""
REQUEST = '{"jsonrpc":"2.0","id":1,"method":"status"}'
SHELL = f"""echo '{REQUEST}' | nc -NU "$XDG_RUNTIME_DIR/facewatchd/socket\""""
PYTHON = """\
import json, os, socket

with socket.socket(socket.AF_UNIX) as daemon:
    daemon.connect(os.environ["XDG_RUNTIME_DIR"] + "/facewatchd/socket")
    params = {"photos": [{"path": "/home/anna/Pictures/anna.jpg"}], "top": 0, "wait": 10}
    request = {"jsonrpc": "2.0", "id": 1, "method": "query", "params": params}
    daemon.sendall(json.dumps(request).encode() + b"\\n")
    reply = json.loads(daemon.makefile().readline())
if "error" in reply:
    raise SystemExit(reply["error"]["message"])
for match in reply["result"]["matches"]:
    print(match["similarity"], match["path"])
"""
ON_RESTART = "Counts after a restart."


def pages() -> dict[str, str]:
    """The text of each page by its place below ``share/man``."""
    return {"man5/facewatchd.toml.5": config_page(), "man7/facewatchd-protocol.7": protocol_page()}


# The configuration


def config_page() -> str:
    """facewatchd.toml(5): every key of the configuration file."""
    lines = [
        *_head("facewatchd.toml", 5, "File Formats", "the configuration of facewatchd"),
        *section(
            "DESCRIPTION",
            "The file is `~/.config/facewatchd/config.toml`, or the one that `facewatchd run` `--config` names. It is "
            "TOML. Every key may be left out, but there must be a directory, here or on the command line. A key that "
            "is not listed below, and a value of another type or out of its range, is an error that names the key; "
            "nothing is started then. Options of `facewatchd run` take precedence over the file.",
        ),
        ".SH KEYS",
    ]
    late = _waiting_for_restart()
    for table, keys in itertools.groupby(config.KEYS, lambda key: key.name.rpartition(".")[0]):
        lines += [f".SS [{table}]"] if table else []
        for key in keys:
            lines += _described(key, ON_RESTART if key.name in late else "")
    lines += section(
        "RULES",
        "A directory may not lie inside another one, nor the data directory inside one of them, unless in a hidden "
        "directory. A directory that is not there is kept: its disk may be mounted later.",
        "A similarity says nothing without its model, so `query.threshold` is allowed only beside a `model` that is "
        f"not `{config.AUTO_MODEL}`.",
        "A change of `[faces]` counts for photos that are indexed from then on; `facewatchd scan --force` embeds all "
        "photos again. `second_look` counts for all photos.",
        "Without `[shared]` nothing ever leaves the machine. Its `url` holds no password. That is "
        f"{engine_url.PASSWORD_PLACES}. A server on another machine must have a certificate for its name: "
        f"`sslmode={engine_url.VERIFIED}`, with the CA as `sslrootcert`, an absolute path or `system`. Other modes are "
        "allowed where every host is `localhost`, a loopback address or a Unix socket (`%2Frun%2Fpostgresql`). The "
        f"parameters are {_listed(sorted(engine_url.PARAMETERS))}; the variables `PG*` of the environment do not "
        "count, except `PGPASSFILE` and `PGSSLROOTCERT`.",
    )
    lines += section(
        "RELOAD",
        "`systemctl --user reload facewatchd`, or SIGHUP to a daemon without a terminal, reads the file again. Keys "
        "above without the remark about a restart count at once; a threshold waits when `model` changed with it. The "
        "log names the keys that wait. A file with a mistake changes nothing. `url` and `name` are "
        "facewatch-share's: it takes them over when it is reloaded in the same way.",
    )
    lines += [".SH FILES", *item(r"\fI\(ti/.config/facewatchd/config.toml\fR", "the configuration")]
    lines += [".SH EXAMPLES", *example(EXAMPLE)]
    return _page([*lines, *see_also((("facewatchd", 1), ("gitignore", 5)))])


def _waiting_for_restart() -> set[str]:
    """The keys that `config.apply_reload` does not take over: each is changed by itself, and only compared there."""
    running_config = config.Config(model="a model", shared=config.Shared("postgresql:///"))
    late: set[str] = set()
    for part in fields(running_config):
        value = getattr(running_config, part.name)
        inner = fields(value) if is_dataclass(value) and not isinstance(value, type) else ()
        for changed in (replace(value, **{each.name: "changed"}) for each in inner) if inner else ("changed",):
            late |= set(config.apply_reload(running_config, replace(running_config, **{part.name: changed}))[1])
    return late


# The protocol


def protocol_page() -> str:
    """facewatchd-protocol(7): every method, result, state, error and limit."""
    lines = [
        *_head("facewatchd-protocol", 7, "Miscellaneous Information", "JSON-RPC on the socket of facewatchd"),
        *section(
            "DESCRIPTION",
            "The daemon listens on the Unix stream socket `$XDG_RUNTIME_DIR/facewatchd/socket` and answers its own "
            "user and root. It speaks JSON-RPC 2.0: one UTF-8 JSON object or batch a line, any number of lines on a "
            "connection, answered in order. Parameters are given by name; null counts as absent, and an unknown name "
            f"is an error. A photo among `photos` has exactly one of {_listed(parameters.Source.ONE_OF)}.",
        ),
        ".SH METHODS",
    ]
    for name, method in parameters.METHODS.items():
        lines += [f".SS {plain(name)}", running(method.meaning)]
        if one_of := getattr(method.parameters, "ONE_OF", ()):
            lines += [".PP", running(f"Exactly one of {_listed(one_of)} must be given.")]
        for parameter in method.describe():
            lines += _described(parameter)
        lines += [".TP", r"\fIresult\fR", running(method.result)]
    lines += [".SH STATES"]
    for what, states in (("the daemon", DaemonState), ("a directory", RootState), ("a file", PhotoState)):
        lines += item(rf"\fB{what}\fR", _listed(states))
    lines += section(
        "RESULTS",
        "A similarity is the cosine of two embeddings, -1 to 1. A box is `[x, y, width, height]` in pixels of the "
        "upright image. Faces of a photo count from 0, left to right.",
        "Paths are absolute. One that is not UTF-8 has U+FFFD in `path`, and its bytes as base64 in `path_bytes`.",
        "`complete` is false while photos are pending, a directory is out of reach, or something may have changed "
        "that causes no event (a polled directory, a link that leads out of the watched directories). Then a photo "
        "that is not found may not be indexed yet. With `since`, `until` or a `sort` by date it is also false while "
        "the dates of photos that match are still to be read; the answer has `undated`, how many these are, and "
        "`wait` waits for them too. After `wait`, and in a query with `wait`, it is about what the "
        "disk held at the call: true means that all of that is searchable. No request waits for a disk that does not "
        "answer: its directory is `offline`, `problems` names it, and what is known of its photos is answered.",
        "`total` counts the photos that match, `top` limits those that are returned. A photo is one match with its "
        "most similar face. Photos with the same bytes are one match too: `copies` has the other paths (and "
        "`copies_bytes` all of them as base64 where one is not UTF-8), unless `collapse` is false. `itself` marks the "
        "photo that was asked with. `exact` is true when every face was compared instead of asking the index.",
        "`of` is the index in `query` of the face that a match is of; it is null for an `embedding`. With `face` "
        '"all", every face is asked for by itself, and `also` has the similar faces of the others on that photo.',
        'Several photos, face ids or `who` are one person unless `face` is "all", and it is an error if they do not '
        "look like one person: two are refused when their similarity is below 0.4 of the threshold, "
        "more when no chain of such pairs joins them. All references of a person with a name are one link of the "
        "chain. `who` in an entry of `query` is the position of what it comes from in `photos`, `faces` or `who`.",
        "With `with`, a match has `terms`: for the person who is asked for and then for each in `with` the face on "
        "the photo that was taken for it, as `face_id`, `similarity`, `box`, `score`, `norm`, `quality`, `person` and "
        "`confirmed`. No face is in two of them. `similarity` of the match is then the least of theirs; the rest of "
        "it is about the first. A person whom the user put on a photo without a face takes none: then `similarity`, "
        "`box`, `score` and `face_id` are null. The answer has `with` and `without` beside `query`, the same for "
        "the other people, with `who` as the position in `with` or `without`.",
        "`without` leaves out photos on which one of these people was seen: a face matches by the same rules, of "
        "whatever size, or the user said so. A face that was taken by a person who is asked for, and that is "
        "more similar to that one, does not count, unless the two people match each other as one person does: so a "
        "photo of one of two brothers stays. `undecided` has "
        "the matches with a face that is too poor to tell: below the recogniser's floor, or under "
        f"{SMALL_SIDE} pixels; not one that was taken, and not one that the user said is another person or not "
        "this one. `count` of them is in `total`, and the first are named in `paths`; with `strict` they are left out "
        "of `matches` and `total`.",
        "`norm` is the length of the embedding as the recogniser gave it: the less, the less it saw; null where it is "
        "not known. `quality` lists what speaks against a face: `small`, and where the model's norms were measured, "
        f"`blurred` (more similarity is asked for) or `{TOO_BLURRED}` (it matches nothing). `left_out` marks a face in "
        "`query` that is not searched for, because others are there that are not too blurred.",
        "With `verdicts` or `explain` each match has a `verdict`, `sure`, `likely` or `look`, and each face in "
        "`query` has `child`: whether it is a small child's, of which one pair in three matches. With `explain` each "
        "match also has `reasons` why it may be wrong: the words of `quality`, `child` (a small child's face), "
        "`rival` (another face on the photo matches too), `closer` (it resembles another person of the "
        "gallery more). `rival` and `closer` are also such a face, by `face_id`, `similarity` and, of `closer`, "
        "the `path` of a photo; `rival` whenever there is another face on the photo. In both cases the answer has "
        "`expected_false`: `count`, how many of `matches` are expected to show somebody else, and `basis`: "
        "`estimate` (right within a factor of 3), `at-most`, or `unknown`, where `count` is null because there are "
        "too few other faces. It is estimated from the similarities of the face to a sample of all faces; with "
        "`dirs` or `min_size` it is `at-most`.",
        "`waits` says what pending photos wait for when nothing is wrong; `device` what computes the model, and "
        "why where there was a choice; `confinement` how far the processes that "
        "decode are confined: `full`, or `partial` or `none` and why. `rates.embedded` counts the contents that went "
        "through the model since the start.",
        "`photos` returns files by the bytes of their paths, as they were recorded, without a look at the disk. A "
        "file that stays in the state is on exactly one page, whatever changes meanwhile. A file that is to be looked "
        "at again is `pending` as well.",
    )
    lines += section(
        "EXPORTS",
        "What `export` returns in pages, and what the two imports take, are lines of a file: JSON objects, one a line. "
        "The kind of a line is its first name. A name that is not listed here is an error.",
    )
    for names, meaning in export_format.LINES.items():
        lines += item(rf"\fB{plain(names)}\fR", meaning)
    lines += section(
        "ERRORS",
        "Errors have the codes of JSON-RPC, or one of these, with `data: {kind, hint}`. The hint says what to do next.",
    )
    for kind, code in jsonrpc.CODES.items():
        lines += item(rf"\fB{plain(kind)}\fR ({plain(str(code))})", _meaning_of(kind))
    lines += [".SH LIMITS", *_limits(), ".SH EXAMPLES", "From a shell:", *example(SHELL)]
    lines += [".PP", "From Python:", *example(PYTHON)]
    return _page([*lines, *see_also((("facewatch-query", 1), ("facewatchd", 1)))])


def _limits() -> Iterator[str]:
    defaults = {each.name: each.default for each in inspect.signature(listener.Server).parameters.values()}
    for what, value in (
        ("a line", f"{jsonrpc.MAX_LINE >> 20} MiB, {jsonrpc.MAX_VALUES:,} values, {jsonrpc.MAX_BATCH:,} requests"),
        (
            "connections",
            f"{defaults['connections']}, and besides them {listener.WAITING:,} whose requests only wait (fewer where "
            "the limit of open files is low); above that, a new connection takes the place of the one that has been "
            "idle longest",
        ),
        (
            "seconds",
            f"{defaults['line_deadline']:g} for a line from its first byte ({listener.UNFINISHED:g} when others wait "
            f"for a place), {defaults['idle_deadline']:g} between lines, {defaults['send_deadline']:g} for a reply to "
            "be read",
        ),
    ):
        yield from item(rf"\fB{what}\fR", value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _meaning_of(kind: str) -> str:
    """The first sentence of the exception that introduces an error kind."""
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__dict__.get("kind") == kind]
    (introduced,) = classes
    return "Any other error." if introduced is errors.FacewatchError else (introduced.__doc__ or "").splitlines()[0]


# The layout of a page


def _page(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _head(name: str, section: int, manual: str, summary: str) -> list[str]:
    title = f'.TH {plain(name.upper())} {section} "" facewatchd "{manual}"'
    return [title, ".SH NAME", rf"{plain(name)} \- {plain(summary)}"]


def _described(value: Description, remark: str = "") -> tuple[str, ...]:
    """A key or a parameter: its name, its type and default, and what it means."""
    name = value.name.rpartition(".")[2] if value in config.KEYS else value.name
    default = value.default if value.default == "required" else f"default {value.default}"
    return item(
        rf"\fB{plain(name)}\fR ({running(value.type)}; {running(default)})", f"{value.meaning} {remark}".strip()
    )
