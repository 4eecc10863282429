"""HTTP/2 by `httpx`, by bare `h2` and by `grpcio`, through a running tollgate, with tokens and without."""

import asyncio
import os
import socket
import sys
from urllib.parse import urlsplit

import grpc
import h2.config
import h2.connection
import h2.events
import httpx

GATEWAY = os.environ["GATEWAY"]
ADDRESS = urlsplit(GATEWAY).netloc
PATIENCE = 30  # seconds


def check(what, seen, wanted):
    if seen != wanted:
        sys.exit(f"{what}: {seen!r} instead of {wanted!r}")


def client():
    # without TLS nobody can agree on HTTP/2: it is known beforehand
    return httpx.Client(base_url=GATEWAY, http1=False, http2=True, timeout=PATIENCE)


def token():
    with client() as http:
        answer = http.post(
            "/auth/token",
            data={"grant_type": "client_credentials"},
            auth=(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]),
        )
        check("token", (answer.status_code, answer.http_version), (200, "HTTP/2"))
        return answer.json()["access_token"]


def httpx_reads_and_writes():
    headers = {"Authorization": "Bearer " + token()}
    ana = {"squadNumber": 71, "firstName": "Ana", "lastName": "Bea"}
    with client() as http:
        check("open", http.get("/players").status_code, 200)
        check("no token", http.post("/players", json=ana).status_code, 401)
        made = http.post("/players", json=ana, headers=headers)
        check("with a token", (made.status_code, made.http_version), (201, "HTTP/2"))
        check("it is there", http.get("/players/71").json()["firstName"], "Ana")
        check("deleted", http.delete("/players/71", headers=headers).status_code, 204)
        # a body of unknown length, and one that is refused while it is sent
        pieces = (b'{"squadNumber": 72, "firstName"', b': "Bea", "lastName": "Eva"}')
        kind = {"Content-Type": "application/json"}
        made = http.post("/players", content=iter(pieces), headers=headers | kind)
        check("in pieces", made.status_code, 201)
        check("deleted", http.delete("/players/72", headers=headers).status_code, 204)
        refused = http.post("/players", content=iter([b"x" * 50_000] * 8), headers=kind)
        check("refused early", refused.status_code, 401)


async def httpx_asks_a_hundred_things_at_once():
    async with httpx.AsyncClient(base_url=GATEWAY, http1=False, http2=True, timeout=PATIENCE) as http:
        answers = await asyncio.gather(*(http.get(f"/players?page={number}") for number in range(300)))
    check("all", {answer.status_code for answer in answers}, {200})


def h2_speaks_the_protocol_itself():
    with socket.create_connection(urlsplit(GATEWAY).netloc.split(":"), PATIENCE) as line:
        line.settimeout(PATIENCE)
        connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        connection.initiate_connection()
        connection.ping(b"are you?")
        head = [(":method", "GET"), (":scheme", "http"), (":authority", ADDRESS), (":path", "/players")]
        connection.send_headers(1, head, end_stream=True)
        seen, body = {}, b""
        while "StreamEnded" not in seen:
            line.sendall(connection.data_to_send())
            for event in connection.receive_data(line.recv(65535)):
                seen[type(event).__name__] = event
                if isinstance(event, h2.events.DataReceived):
                    body += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, 1)
        check("status", dict(seen["ResponseReceived"].headers)[":status"], "200")
        check("length", dict(seen["ResponseReceived"].headers)["content-length"], str(len(body)))
        check("ping", seen["PingAckReceived"].ping_data, b"are you?")
        check("extended CONNECT", connection.remote_settings.enable_connect_protocol, 1)


def grpcio_is_told_why_it_is_refused():
    with grpc.insecure_channel(ADDRESS) as channel:
        call = channel.unary_unary("/players.Players/Add")
        for metadata, code in [
            ((), grpc.StatusCode.UNAUTHENTICATED),
            ((("authorization", "Bearer bad"),), grpc.StatusCode.UNAUTHENTICATED),
        ]:
            try:
                call(b"Ana", metadata=metadata, timeout=PATIENCE)
            except grpc.RpcError as refusal:
                check("code", refusal.code(), code)
                check("a reason", bool(refusal.details()), True)
                challenge = dict(refusal.initial_metadata()) | dict(refusal.trailing_metadata())
                check("challenge", challenge["www-authenticate"].startswith("Bearer "), True)
            else:
                sys.exit("a call was let through without a token")
        try:
            for _ in channel.stream_stream("/players.Players/Watch")(iter([b"a", b"b"]), timeout=PATIENCE):
                sys.exit("a stream was let through without a token")
        except grpc.RpcError as refusal:
            check("stream", refusal.code(), grpc.StatusCode.UNAUTHENTICATED)


httpx_reads_and_writes()
asyncio.run(httpx_asks_a_hundred_things_at_once())
h2_speaks_the_protocol_itself()
grpcio_is_told_why_it_is_refused()
print("httpx, h2 and grpcio: fine")
