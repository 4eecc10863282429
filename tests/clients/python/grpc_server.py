"""A gRPC service by grpcio, without a schema: messages are bytes. Prints its address and ends with its standard input."""

import sys
import threading
from concurrent import futures

import grpc

cancelled = threading.Semaphore(0)
go_on = threading.Event()


def told(context):
    return {key: value for key, value in context.invocation_metadata()}


def unary(request, context):
    metadata = told(context)
    context.send_initial_metadata((("x-initial", metadata.get("x-ask", "")),))
    context.set_trailing_metadata(
        (("x-client", metadata.get("x-auth-client", "")), ("x-bin-bin", b"\x00\xff"))
    )
    return request


def server_stream(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def two_parts(request, context):
    yield b"first"
    go_on.wait(20)  # until the client says that it has the first
    yield b"second"


def say_go_on(request, context):
    go_on.set()
    return b""


def client_stream(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def bidi(requests, context):
    yield from requests


def slow(request, context):
    context.add_callback(cancelled.release)
    context.set_trailing_metadata((("x-left", str(context.time_remaining())),))
    threading.Event().wait(3)
    return b""


def endless(request, context):
    context.add_callback(cancelled.release)
    while context.is_active():
        yield b"x" * 1000
        threading.Event().wait(0.01)


def was_cancelled(request, context):
    return b"yes" if cancelled.acquire(timeout=3) else b"no"


def fail(request, context):
    context.set_trailing_metadata((("x-why", "not here"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "nothing of this name: ¡hola! %")


def fail_half_way(request, context):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "half way")


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "TwoParts": grpc.unary_stream_rpc_method_handler(two_parts),
    "GoOn": grpc.unary_unary_rpc_method_handler(say_go_on),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "Endless": grpc.unary_stream_rpc_method_handler(endless),
    "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailHalfWay": grpc.unary_stream_rpc_method_handler(fail_half_way),
}

server = grpc.server(
    futures.ThreadPoolExecutor(max_workers=64),
    options=[("grpc.max_receive_message_length", 64 << 20)],
)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", METHODS),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"127.0.0.1:{port}", flush=True)
sys.stdin.read()
server.stop(0)
