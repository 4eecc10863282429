"""All four kinds of gRPC calls by grpcio, through a running tollgate in front of grpc_server.py, with a token in metadata."""

import os
import sys
import threading
import time

import grpc
import requests

GATEWAY = os.environ["GATEWAY"]
PATIENCE = 20  # seconds


def check(what, seen, wanted):
    if seen != wanted:
        sys.exit(f"{what}: {seen!r} instead of {wanted!r}")


answer = requests.post(
    f"http://{GATEWAY}/auth/token",
    data={"grant_type": "client_credentials"},
    auth=(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]),
    timeout=PATIENCE,
)
check("token", answer.status_code, 200)
TOKEN = (("authorization", "Bearer " + answer.json()["access_token"]),)

channel = grpc.insecure_channel(
    GATEWAY,
    options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.enable_http_proxy", 0)],
)


def call(kind, name):
    return getattr(channel, kind)(f"/test.Echo/{name}")


def status_of(attempt):
    try:
        attempt()
    except grpc.RpcError as fault:
        return fault.code()
    return grpc.StatusCode.OK


def unary_with_metadata_both_ways():
    metadata = (*TOKEN, ("x-ask", "a"), ("x-auth-client", "admin"))
    response, seen = call("unary_unary", "Unary").with_call(
        b"hello", metadata=metadata, timeout=PATIENCE
    )
    check("answer", response, b"hello")
    check("initial metadata", dict(seen.initial_metadata()).get("x-initial"), "a")
    trailers = dict(seen.trailing_metadata())
    check("who the upstream was told", trailers.get("x-client"), os.environ["CLIENT_ID"])
    check("binary metadata", trailers.get("x-bin-bin"), b"\x00\xff")
    check("code", seen.code(), grpc.StatusCode.OK)
    check("empty", call("unary_unary", "Unary")(b"", metadata=TOKEN, timeout=PATIENCE), b"")


def refused_without_a_valid_token():
    for metadata in [(), (("authorization", "Bearer x.y.z"),), (("authorization", "Basic eDp5"),)]:
        code = status_of(
            lambda: call("unary_unary", "Unary")(b"x", metadata=metadata, timeout=PATIENCE)
        )
        check(f"with {metadata}", code, grpc.StatusCode.UNAUTHENTICATED)
    code = status_of(lambda: list(call("stream_stream", "Bidi")(iter([b"x"]), timeout=PATIENCE)))
    check("a stream without a token", code, grpc.StatusCode.UNAUTHENTICATED)


def large_messages():
    message = os.urandom(8 << 20)
    seen = call("unary_unary", "Unary")(message, metadata=TOKEN, timeout=PATIENCE)
    check("8 MiB came back", seen == message, True)


def server_streaming():
    got = list(call("unary_stream", "ServerStream")(b"1000", metadata=TOKEN, timeout=PATIENCE))
    check("messages", got, [b"%d" % number for number in range(1000)])
    parts = call("unary_stream", "TwoParts")(b"", metadata=TOKEN, timeout=PATIENCE)
    check("first part, while the server holds the second back", next(parts), b"first")
    call("unary_unary", "GoOn")(b"", metadata=TOKEN, timeout=PATIENCE)
    check("second part", next(parts), b"second")


def client_streaming():
    messages = (b"x" * (number % 1000) for number in range(2000))
    got = call("stream_unary", "ClientStream")(messages, metadata=TOKEN, timeout=PATIENCE)
    check("bytes", got, b"%d" % sum(number % 1000 for number in range(2000)))


def bidirectional_in_turns():
    more, sent = threading.Semaphore(1), 0

    def messages():
        for number in range(200):
            more.acquire()
            yield b"%d" % number

    for response in call("stream_stream", "Bidi")(messages(), metadata=TOKEN, timeout=PATIENCE):
        check("echo", response, b"%d" % sent)
        sent += 1
        more.release()
    check("messages", sent, 200)


def bidirectional_all_at_once():
    pieces = [os.urandom(64 << 10) for _ in range(100)]
    stream = call("stream_stream", "Bidi")(iter(pieces), metadata=TOKEN, timeout=PATIENCE)
    time.sleep(0.2)  # nothing is read for a while
    check("all came back", list(stream) == pieces, True)


def deadlines():
    slow, asked = call("unary_unary", "Slow"), call("unary_unary", "WasCancelled")
    started = time.monotonic()
    code = status_of(lambda: slow(b"", metadata=TOKEN, timeout=0.5))
    check("after the deadline", code, grpc.StatusCode.DEADLINE_EXCEEDED)
    check("in time", time.monotonic() - started < 2.5, True)
    check("the server knows", asked(b"", metadata=TOKEN, timeout=PATIENCE), b"yes")


def cancellation():
    stream = call("unary_stream", "Endless")(b"", metadata=TOKEN, timeout=PATIENCE)
    next(stream)
    stream.cancel()
    asked = call("unary_unary", "WasCancelled")
    check("the server knows", asked(b"", metadata=TOKEN, timeout=PATIENCE), b"yes")


def errors_with_their_details():
    try:
        call("unary_unary", "Fail")(b"", metadata=TOKEN, timeout=PATIENCE)
        sys.exit("it did not fail")
    except grpc.RpcError as fault:
        check("code", fault.code(), grpc.StatusCode.NOT_FOUND)
        check("details", fault.details(), "nothing of this name: ¡hola! %")
        check("trailers", dict(fault.trailing_metadata()).get("x-why"), "not here")
    code = status_of(lambda: call("unary_unary", "None")(b"", metadata=TOKEN, timeout=PATIENCE))
    check("no such method", code, grpc.StatusCode.UNIMPLEMENTED)
    stream = call("unary_stream", "FailHalfWay")(b"", metadata=TOKEN, timeout=PATIENCE)
    check("before it fails", next(stream), b"one")
    check("half way", status_of(lambda: next(stream)), grpc.StatusCode.DATA_LOSS)


def many_at_once():
    unary = call("unary_unary", "Unary")
    calls = [
        unary.future(b"%d" % number, metadata=TOKEN, timeout=PATIENCE) for number in range(300)
    ]
    check("all answered", [one.result() for one in calls], [b"%d" % n for n in range(300)])


for test in [
    unary_with_metadata_both_ways,
    refused_without_a_valid_token,
    large_messages,
    server_streaming,
    client_streaming,
    bidirectional_in_turns,
    bidirectional_all_at_once,
    deadlines,
    cancellation,
    errors_with_their_details,
    many_at_once,
]:
    test()
    print("grpc:", test.__name__.replace("_", " "), flush=True)
