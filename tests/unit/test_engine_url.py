"""Addresses of a shared engine: what is accepted is safe, and means the same to libpq; no message repeats a secret."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewatchd import engine_url
from facewatchd.engine_url import PARAMETERS, UnsafeAddressError

VERIFIED = "sslmode=verify-full"
SECRET = "s3cret"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://facewatch@nas.lan/facewatch?{VERIFIED}",
        f"postgres://nas.lan?{VERIFIED}",
        f"postgresql://u%40home@[2001:db8::1]:5433/d%C3%A4ta?{VERIFIED}&sslrootcert=/etc/ca.crt",
        f"postgresql://a.lan:5432,b.lan:5433/f?{VERIFIED}&target_session_attrs=read-write",
        f"postgresql:///f?host=a.lan&port=5433&user=u&{VERIFIED}&sslrootcert=system",
        f"postgresql://nas.lan/f?hostaddr=192.0.2.7&{VERIFIED}&passfile=/home/u/.pg%20pass",
        "postgresql://u@localhost/f",
        "postgresql://LocalHost:5433/f?sslmode=disable",
        "postgresql://127.0.0.1/f",
        "postgresql://127.255.3.4/f?sslmode=prefer",
        "postgresql://[::1]:5433/f",
        "postgresql://[::ffff:127.0.0.1]/f",
        "postgresql:///f",
        "postgresql://%2Fvar%2Frun%2Fpostgresql/f",
        "postgresql:///f?host=/var/run/postgresql&requirepeer=postgres",
        "postgresql://localhost,[::1]/f",
        "postgresql://nas.lan/f?hostaddr=127.0.0.1",
    ],
)
def test_what_is_accepted(url: str) -> None:
    assert engine_url.read(url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nas.lan/f",
        *(f"postgresql://nas.lan/f?sslmode={mode}" for mode in ("disable", "allow", "prefer", "require", "verify-ca")),
        "postgresql://192.168.1.2/f?sslmode=require",
        "postgresql://[2001:db8::1]/f",
        "postgresql://[::ffff:192.0.2.1]/f",
        "postgresql://[fe80::1]/f",
        "postgresql://0.0.0.0/f",
        "postgresql://[::]/f",
        "postgresql://127.1/f",
        "postgresql://2130706433/f",
        "postgresql://0x7f000001/f",
        "postgresql://127.0.0.1.evil.example/f",
        "postgresql://localhost./f",
        "postgresql://localhost.evil.example/f",
        "postgresql://ip6-localhost/f",
        "postgresql://localhost,nas.lan/f",
        "postgresql://nas.lan,localhost/f",
        "postgresql://localhost%2Cnas.lan/f",
        "postgresql:///f?host=localhost,nas.lan",
        "postgresql:///f?host=localhost%2cnas.lan",
        "postgresql://localhost/f?hostaddr=192.0.2.7",
        "postgresql:///f?host=/run/postgresql&hostaddr=192.0.2.7",
        "postgresql://localhost,localhost/f?hostaddr=127.0.0.1,192.0.2.7",
    ],
)
def test_another_machine_needs_a_verified_certificate(url: str) -> None:
    with pytest.raises(UnsafeAddressError) as caught:
        engine_url.read(url)
    assert "could pose as that server" in caught.value.fault
    assert "sslmode=verify-full" in caught.value.way


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@nas.lan/f?{VERIFIED}",
        f"postgresql://:{SECRET}@localhost/f",
        f"postgresql://u:{SECRET}/x@localhost/f",
        f"postgresql://u:{SECRET}@@nas.lan/f",
        f"postgresql://u%3A{SECRET}@localhost/f",
        f"mysql://u:{SECRET}@localhost/f",
        f"POSTGRESQL://u:{SECRET}@localhost/f",
        f"postgresql://u@localhost/f?password={SECRET}",
        f"postgresql://u@localhost/f?%70assword={SECRET}",
        f"postgresql://u@localhost/f?{VERIFIED}&sslpassword={SECRET}",
        f"postgresql://u@localhost/f?password={SECRET}&password={SECRET}",
    ],
)
def test_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UnsafeAddressError, match=r"holds a password; .*~/\.pgpass.*facewatch-password") as caught:
        engine_url.read(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "must begin with postgresql://"),
        ("nas.lan", "must begin with postgresql://"),
        (f"host=nas.lan password={SECRET} dbname=f", "must begin with postgresql://"),
        ("mysql://localhost/f", "must begin with postgresql://"),
        ("Postgresql://localhost/f", "must begin with postgresql://"),
        (" postgresql://localhost/f", "must begin with postgresql://"),
        (f"postgresql://h/f?{VERIFIED}&sslmode=disable", "sslmode is named twice"),
        (f"postgresql://h/f?sslmode=disable&{VERIFIED}", "sslmode is named twice"),
        (f"postgresql://h/f?{VERIFIED}&{VERIFIED}", "sslmode is named twice"),
        (f"postgresql://h/f?{VERIFIED}&%73slmode=disable", "parameters that are not taken"),
        (f"postgresql://h/f?{VERIFIED}&ssl=true", "parameters that are not taken: `ssl`"),
        (f"postgresql://h/f?{VERIFIED}&requiressl=0", "parameters that are not taken: `requiressl`"),
        ("postgresql:///?service=nas", "parameters that are not taken: `service`"),
        ("postgresql:///?servicefile=/x", "parameters that are not taken: `servicefile`"),
        ("postgresql://localhost/f?options=-c%20x", "parameters that are not taken: `options`"),
        ("postgresql://localhost/f?SSLMODE=disable", "parameters that are not taken"),
        (f"postgresql://h/f?{VERIFIED}&sslkeylogfile=/x", "parameters that are not taken: `sslkeylogfile`"),
        (f"postgresql://localhost/f?host=nas.lan&{VERIFIED}", "host is named twice"),
        ("postgresql://localhost:5/f?port=6", "port is named twice"),
        ("postgresql://localhost/f?dbname=g", "dbname is named twice"),
        ("postgresql://u@localhost/f?user=v", "user is named twice"),
        ("postgresql://localhost/f?dbname", "dbname has no value"),
        ("postgresql://localhost/f?sslmode=", "sslmode has no value"),
        ("postgresql://localhost/f?sslmode=Verify-Full", "unknown sslmode"),
        ("postgresql://localhost/f?sslmode=verify-full%20", "unknown sslmode"),
        (f"postgresql://h/f?{VERIFIED}&gssencmode=prefer", "GSSAPI"),
        (f"postgresql://h/f?{VERIFIED}&sslrootcert=ca.crt", "relative path: sslrootcert"),
        (f"postgresql://h/f?{VERIFIED}&sslrootcert=~/ca.crt", "relative path: sslrootcert"),
        (f"postgresql://h/f?{VERIFIED}&passfile=pw", "relative path: passfile"),
        (f"postgresql://h/f?{VERIFIED}&sslcert=system", "relative path: sslcert"),
        ("postgresql://localhost/a b", "spaces, control characters"),
        ("postgresql://localhost/a%00b", "spaces, control characters"),
        ("postgresql://localhost/a\nb", "spaces, control characters"),
        ("postgresql://nä.lan/f", "spaces, control characters"),
        ("postgresql://localhost/a%zz", "spaces, control characters"),
        ("postgresql://localhost/a%ff", "not UTF-8"),
        ("postgresql://a,,b/f", "one of its hosts is empty"),
        ("postgresql://localhost,/f", "one of its hosts is empty"),
        ("postgresql://localhost:0/f", "a port is not"),
        ("postgresql://localhost:99999/f", "a port is not"),
        ("postgresql://localhost/f?port=x", "a port is not"),
        ("postgresql://localhost/f?port=1,2", "one port"),
        ("postgresql://a:x/f", "a host is not"),
        ("postgresql://[::1/f", "a host is not"),
        ("postgresql://::1/f", "a host is not"),
        ("postgresql://localhost/f?hostaddr=127.0.0.1,127.0.0.2", "different lengths"),
        (f"postgresql:///f?hostaddr=192.0.2.7&{VERIFIED}", "no host that the certificate"),
        ("postgresql://localhost/f?user=a@b", "it is not postgresql://USER@HOST"),
        (f"postgresql://localhost?user=u@nas.lan&{VERIFIED}", "it is not postgresql://USER@HOST"),
        ("postgresql://localhost/f#x", "it is not postgresql://USER@HOST"),
        ("postgresql://localhost/f/g", "it is not postgresql://USER@HOST"),
        ("postgresql://localhost/host=nas.lan", "the name of a database"),
        ("postgresql://localhost/?dbname=postgresql://nas.lan", "the name of a database"),
    ],
)
def test_what_cannot_be_meant_or_read_in_two_ways_is_refused(url: str, message: str) -> None:
    with pytest.raises(UnsafeAddressError) as caught:
        engine_url.read(url)
    assert message in caught.value.fault
    assert caught.value.way
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loopback_address_with_a_scope_is_not_known_to_be_one() -> None:
    assert engine_url.is_here("::1")
    assert not engine_url.is_here("::1%eth0")


def test_messages_name_hosts_and_unusual_ports() -> None:
    assert engine_url.read("postgresql://u@localhost:5432/f").where == "localhost"
    assert engine_url.read("postgresql://localhost:5,[::1]:6,127.0.0.1/f").where == "localhost:5, [::1]:6, 127.0.0.1"
    assert engine_url.read(f"postgresql://a,b/f?{VERIFIED}").where == "a, b"
    assert engine_url.read("postgresql:///f?host=/run/pg&port=7").where == "/run/pg:7"
    assert engine_url.read("postgresql:///f").where == "the local socket"


PIECES = st.sampled_from(
    [
        *("postgresql://", "postgres://", "localhost", "nas.lan", "127.0.0.1", "[::1]", "%2Frun", "%2C", ",", ":", "@"),
        *("/", "?", "&", "=", "#", "%40", "%3D", "%26", "5432", "u", "f", "ssl=true", "service=x", "options=x", "%73"),
        *("sslmode=verify-full", "sslmode=disable", "sslmode=require", "host=", "hostaddr=", "192.0.2.1", "/ca", "["),
        *("port=", "user=", "dbname=", "password=", "sslrootcert=", "//", " ", "+", "]", "::1", "host=nas.lan"),
    ]
)


HOSTS = ("", "localhost", "LOCALHOST.", "nas.lan", "127.0.0.1", "[::1]", "%2Frun", "a%2Cb", "192.0.2.1", "%40x", "::1")
VALUES = {
    "host": ("nas.lan", "localhost", "/run", "::1", "localhost,nas.lan", "%40x"),
    "hostaddr": ("127.0.0.1", "192.0.2.1", "127.0.0.1,::1"),
    "port": ("5432", "1,2", ","),
    "sslmode": ("verify-full", "require", "disable", "%76erify-full"),
    "sslrootcert": ("/ca", "system", "ca"),
    "%73slmode": ("disable",),
    **dict.fromkeys(("user", "dbname", "password", "service", "options", "ssl", "gssencmode"), ("x",)),
}
ORDERLY = st.builds(
    lambda user, hosts, ports, rest, pairs: (
        f"postgresql://{user}{','.join(h + p for h, p in zip(hosts, ports, strict=False))}{rest}"
        + ("?" + "&".join(f"{name}={value}" for name, value in pairs) if pairs else "")
    ),
    st.sampled_from(["", "u@", "u%40v@", "@"]),
    st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3),
    st.lists(st.sampled_from(["", "", ":5", ":"]), min_size=3, max_size=3),
    st.sampled_from(["", "/", "/f", "/%66"]),
    st.lists(
        st.sampled_from(sorted(VALUES)).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(VALUES[name]))),
        max_size=4,
    ),
)


@settings(deadline=None)
@given(ORDERLY | st.lists(PIECES, max_size=12).map(lambda pieces: "postgresql://" + "".join(pieces)))
def test_what_is_accepted_means_the_same_to_libpq(url: str) -> None:
    conninfo = pytest.importorskip("psycopg.conninfo")
    try:
        address = engine_url.read(url)
    except UnsafeAddressError:
        return
    assert tuple(sorted(conninfo.conninfo_to_dict(url).items())) == address.values
    verified = dict(address.values).get("sslmode") == "verify-full"
    assert verified or all(host in ("", "localhost", "127.0.0.1", "::1") or host[0] in "/@" for host in address.hosts)


LISTS = st.lists(st.sampled_from(["localhost", "nas.lan", "127.0.0.1", "::1", "/run/x"]), min_size=1, max_size=3)
TEXT = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters=":="), min_size=1, max_size=8)


@settings(deadline=None)
@given(hosts=LISTS, mode=st.sampled_from(["", "disable", "verify-full"]), user=TEXT, database=TEXT)
def test_every_name_can_be_written_percent_encoded(hosts: list[str], mode: str, user: str, database: str) -> None:
    conninfo = pytest.importorskip("psycopg.conninfo")
    encoded = [f"[{host}]" if ":" in host else quote(host, safe="") for host in hosts]
    url = f"postgresql://{quote(user, safe='')}@{','.join(encoded)}/{quote(database, safe='')}"
    url += f"?sslmode={mode}" if mode else ""
    if "nas.lan" in hosts and mode != "verify-full":
        with pytest.raises(UnsafeAddressError, match="pose as that server"):
            engine_url.read(url)
        return
    address = engine_url.read(url)
    assert tuple(sorted(conninfo.conninfo_to_dict(url).items())) == address.values
    assert dict(address.values)["user"] == user


def test_libpq_knows_every_parameter() -> None:
    psycopg = pytest.importorskip("psycopg")
    assert {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()} >= PARAMETERS
