"""The code is traded for a cookie."""

from __future__ import annotations

from tests.support.pages import PORT, ToldDaemon, browser


def test_without_the_cookie_there_is_only_the_question_for_the_code() -> None:
    daemon = ToldDaemon()
    with browser(daemon, signed_in=False) as client:
        answer = client.get("/ask")
        assert answer.status_code == 401
        assert 'action="/enter"' in answer.text
        assert daemon.asked == []


def test_the_right_code_buys_a_cookie_that_no_script_and_no_other_site_gets() -> None:
    with browser(ToldDaemon(), signed_in=False) as client:
        answer = client.post("/enter", data={"code": client.page.sessions.code, "then": "/ask?who=%40Anna"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/ask?who=%40Anna")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"facewatchd-{PORT}=")
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert client.page.sessions.code not in cookie
        assert client.get("/ask").status_code == 200


def test_a_wrong_code_is_refused_and_after_ten_every_code() -> None:
    with browser(ToldDaemon(), signed_in=False) as client:
        for _ in range(10):
            answer = client.post("/enter", data={"code": "wrong"})
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers
        assert client.post("/enter", data={"code": client.page.sessions.code}).status_code == 429


def test_the_way_on_is_never_to_another_site() -> None:
    with browser(ToldDaemon(), signed_in=False) as client:
        code = client.page.sessions.code
        for then in ("https://evil.example/", "//evil.example/", "/\\evil.example", "evil", "/\tx", "/a\r\nb: c"):
            answer = client.post("/enter", data={"code": code, "then": then})
            assert answer.headers["location"] == "/"
