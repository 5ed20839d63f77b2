"""What an answer has of other machines, read into values."""

from __future__ import annotations

from facewatchd.client.answer import Answer, Machine, Shared
from facewatchd.matches import Place
from tests.support import replies


def answer(document: dict[str, object]) -> Answer:
    return Answer(document | {"query": []}, [], every_face=False, others={})


def test_an_answer_of_this_machine_alone_names_no_other() -> None:
    found = answer(replies.answer(b"/x/1.jpg"))
    (match,) = found.matches
    assert (match.host, match.elsewhere, match.similar_elsewhere, match.name) == ("", (), (), b"/x/1.jpg")
    assert found.shared is None


def test_photos_of_other_machines_are_named_with_their_host() -> None:
    document = replies.answer()
    document["matches"] = [
        replies.match(b"/srv/\xff.jpg", host="nas", face_id=None, also=[also(None)]),
        replies.match(
            b"/x/1.jpg",
            host=None,
            elsewhere=[{"host": "nas", "path": "/srv/1.jpg"}],
            similar_elsewhere=[{"host": "old", "path": "/\ufffd", "path_bytes": "L/8="}],
        ),
    ]
    there, here = answer(document).matches
    assert (there.host, there.path, there.name, there.face_id) == ("nas", b"/srv/\xff.jpg", b"nas:/srv/\xff.jpg", None)
    assert there.also[0].face_id is None
    assert (here.host, here.elsewhere) == ("", (Place("nas", b"/srv/1.jpg"),))
    assert here.similar_elsewhere == (Place("old", b"/\xff"),)


def also(face_id: int | None) -> dict[str, object]:
    return {"of": 1, "similarity": 0.5, "box": [1, 2, 3, 4], "score": 0.9, "face_id": face_id}


def test_the_state_of_the_engine_and_of_each_machine_is_read() -> None:
    machine = {"name": "nas", "faces": 5, "backlog": 0, "pending": 2, "as_of_s": 1814400.5}
    shared = {"state": "behind", "reason": None, "cut": True, "machines": [machine]}
    assert answer(replies.answer(shared=shared)).shared == Shared(
        "behind", "", (Machine("nas", 5, 0, 2, 1814400.5),), cut=True
    )
