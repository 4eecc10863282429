"""All four kinds of gRPC call by `grpcio`, through a running tollgate, to a server of `grpcio`.

    grpc_peer.py serve     serves on a free port, prints its address, ends with its standard input
    grpc_peer.py call      calls through GATEWAY
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import grpc

PATIENCE = 30  # seconds
SERVICE = "players.Players"


def told(context):
    """Whom the gateway says that the caller is."""
    return dict(context.invocation_metadata()).get("x-auth-client", "nobody").encode()


def one(request, context):
    context.send_initial_metadata((("x-early", "yes"),))
    context.set_trailing_metadata((("x-late", "yes"),))
    return told(context) + b" " + request


def down(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def up(requests, context):
    return b"%d" % sum(len(piece) for piece in requests)


def both(requests, context):
    for piece in requests:
        yield piece[::-1]


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not 50 % ready: é")


def serve():
    handlers = {
        "One": grpc.unary_unary_rpc_method_handler(one),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
    }
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(0)


def check(what, seen, wanted):
    if seen != wanted:
        sys.exit(f"{what}: {seen!r} instead of {wanted!r}")


def call():
    import requests

    gateway = os.environ["GATEWAY"]
    auth = (os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"])
    answer = requests.post(
        gateway + "/auth/token", data={"grant_type": "client_credentials"}, auth=auth, timeout=PATIENCE
    )
    metadata = (("authorization", "Bearer " + answer.json()["access_token"]),)
    how = {"metadata": metadata, "timeout": PATIENCE}
    with grpc.insecure_channel(urlsplit(gateway).netloc) as channel:
        reply, details = channel.unary_unary(f"/{SERVICE}/One").with_call(b"hello", **how)
        check("one", reply, os.environ["CLIENT_ID"].encode() + b" hello")
        check("early", dict(details.initial_metadata())["x-early"], "yes")
        check("late", dict(details.trailing_metadata())["x-late"], "yes")
        large = os.urandom(3_000_000)
        reply = channel.unary_unary(f"/{SERVICE}/One")(large, **how)
        check("large", reply.endswith(large), True)
        replies = list(channel.unary_stream(f"/{SERVICE}/Down")(b"500", **how))
        check("down", replies, [b"%d" % number for number in range(500)])
        reply = channel.stream_unary(f"/{SERVICE}/Up")((b"x" * 10_000 for _ in range(300)), **how)
        check("up", reply, b"3000000")
        # each answer is waited for before the next is asked: nothing on the way may hold one back
        turn = threading.Semaphore(1)

        def asked():
            for number in range(200):
                turn.acquire()
                yield b"%03d" % number

        seen = []
        for reply in channel.stream_stream(f"/{SERVICE}/Both")(asked(), **how):
            seen.append(reply)
            turn.release()
        check("both", seen, [(b"%03d" % number)[::-1] for number in range(200)])
        try:
            channel.unary_unary(f"/{SERVICE}/Fail")(b"", **how)
        except grpc.RpcError as failure:
            check("code", failure.code(), grpc.StatusCode.FAILED_PRECONDITION)
            check("details", failure.details(), "not 50 % ready: é")
        else:
            sys.exit("a failure was lost on the way")
        try:
            channel.unary_unary(f"/{SERVICE}/One")(b"hello", timeout=PATIENCE)
        except grpc.RpcError as refusal:
            check("refused", refusal.code(), grpc.StatusCode.UNAUTHENTICATED)
        else:
            sys.exit("a call was let through without a token")
    print("grpcio, all four kinds: fine")


{"serve": serve, "call": call}[sys.argv[1]]()
