"""A server that other machines reach answers browsers that know its token, and nobody else."""

import http.client
from collections.abc import Iterator

import pytest

from emulator.web.run_library import RunLibrary
from emulator.web.run_queue import RunQueue
from emulator.web.serve import LOOPBACK, listening_socket, serving, token_for
from emulator.web.ui_app import ui_app

HEADERS = {"content-type": "application/json"}
REQUESTS = [
    ("GET", "/", ""),
    ("GET", "/run/tiny", ""),
    ("GET", "/live/tiny/events", ""),
    ("POST", "/live/tiny/commands", '{"kind": "stop"}'),
    ("POST", "/new", "{}"),
]


@pytest.fixture(name="server", scope="module")
def serve_with_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """Serve the application with a token; yield its port and the token."""
    runs, token = tmp_path_factory.mktemp("runs"), token_for("0.0.0.0")
    assert token is not None
    app = ui_app(RunLibrary(runs), RunQueue(runs), ("0.0.0.0",), token)
    with (
        listening_socket(None) as listener,
        serving(app, listener, lambda _: None, opens_browser=False, path=""),
    ):
        yield listener.getsockname()[1], token


def answer_to(
    port: int, method: str, path: str, content: str = "", **headers: str
) -> tuple[int, dict[str, str], str]:
    """Send a request; return status, headers and content of its answer."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    connection.request(method, path, content, HEADERS | headers)
    answer = connection.getresponse()
    found = (
        answer.status,
        {name.lower(): value for name, value in answer.getheaders()},
        answer.read().decode(),
    )
    connection.close()
    return found


@pytest.mark.parametrize(("method", "path", "content"), REQUESTS)
def test_without_the_token_nothing_is_answered(
    server: tuple[int, str], method: str, path: str, content: str
) -> None:
    port, token = server
    refused = 403, "Open the address that the terminal shows: it has a token.\n"
    for end, headers in (
        ("", {}),
        ("?token=", {}),
        ("?token=wrong", {}),
        (f"?token={token}x", {}),
        ("", {"cookie": "token=wrong"}),
        ("", {"cookie": f"other={token}"}),
    ):
        status, _, text = answer_to(port, method, path + end, content, **headers)
        assert (status, text) == refused, (end, headers)


def test_a_browser_shows_the_token_once_and_is_known_by_its_cookie(server: tuple[int, str]) -> None:
    port, token = server
    status, headers, _ = answer_to(port, "GET", f"/?token={token}")
    assert (status, headers["location"]) == (303, "/")  # the token does not stay in the address
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert cookie == f"token={token}"
    assert {"HttpOnly", "SameSite=strict"} <= set(attributes)
    assert answer_to(port, "GET", "/", cookie=cookie)[0] == 200
    status, _, text = answer_to(port, "POST", "/live/tiny/commands", '{"kind": "stop"}', cookie=cookie)
    assert (status, text) == (400, '{"error":"the run has ended: No such file or directory"}')
    foreign = {"cookie": cookie, "origin": "http://elsewhere.example"}
    assert answer_to(port, "POST", "/live/tiny/commands", '{"kind": "stop"}', **foreign)[0] == 403


def test_only_a_server_for_this_machine_needs_no_token() -> None:
    assert token_for(LOOPBACK) is token_for("127.0.0.2") is None
    assert token_for("0.0.0.0") != token_for("0.0.0.0")
