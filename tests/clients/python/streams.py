"""WebSocket by `websockets` and server-sent events by `requests`, through a running tollgate, with a token."""

import json
import os
import sys

import requests
import websockets.exceptions
from websockets.sync.client import connect

GATEWAY = os.environ["GATEWAY"]
PATIENCE = 20  # seconds
ECHO = GATEWAY.replace("http:", "ws:") + "/echo"


def check(what, seen, wanted):
    if seen != wanted:
        sys.exit(f"{what}: {seen!r} instead of {wanted!r}")


def token():
    answer = requests.post(
        GATEWAY + "/auth/token",
        data={"grant_type": "client_credentials"},
        auth=(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]),
        timeout=PATIENCE,
    )
    check("token", answer.status_code, 200)
    return answer.json()["access_token"]


def websocket_echoes_text_and_a_megabyte():
    headers = {"Authorization": "Bearer " + token()}
    with connect(ECHO, additional_headers=headers, open_timeout=PATIENCE) as socket:
        greeting = json.loads(socket.recv(timeout=PATIENCE))
        check("who the upstream was told", greeting, {"client": os.environ["CLIENT_ID"]})
        for message in ["", "¡Vamos!", os.urandom(1 << 20), "x" * 200_000]:
            socket.send(message)
            check("echo", socket.recv(timeout=PATIENCE) == message, True)
        for number in range(500):
            socket.send(str(number))
        for number in range(500):
            check("echo in order", socket.recv(timeout=PATIENCE), str(number))
        check("pong", socket.ping().wait(PATIENCE), True)
    check("close code", socket.close_code, 1000)


def websocket_without_a_token_is_refused():
    try:
        connect(ECHO, open_timeout=PATIENCE)
    except websockets.exceptions.InvalidStatus as refusal:
        check("status", refusal.response.status_code, 401)
        return
    sys.exit("a WebSocket was opened without a token")


def events_arrive_one_by_one():
    with requests.get(GATEWAY + "/events", stream=True, timeout=PATIENCE) as stream:
        check("type", stream.headers["Content-Type"], "text/event-stream")
        lines = stream.iter_lines(chunk_size=1)
        check("first event", [next(lines) for _ in range(3)][1], b"data: hello")
        for _ in range(20):
            check("next", requests.get(GATEWAY + "/next", timeout=PATIENCE).status_code, 204)
            event = [next(lines) for _ in range(3)]
            number = int(event[0].removeprefix(b"id: "))
            check("event", event[1], b'data: {"number": %d}' % number)


CASES = [
    websocket_echoes_text_and_a_megabyte,
    websocket_without_a_token_is_refused,
    events_arrive_one_by_one,
]

for case in CASES:
    case()
    print("ok", case.__name__.replace("_", " "), flush=True)
print(len(CASES), "passed, 0 failed")
