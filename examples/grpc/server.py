"""A small gRPC service: players.Players/Add, and the standard health check. Prints its address, ends with its input."""

import sys
from concurrent import futures

import grpc


def add(request, context):
    metadata = dict(context.invocation_metadata())
    return ("added by " + metadata.get("x-auth-client", "nobody")).encode()


def check(request, context):
    return b"\x08\x01"  # HealthCheckResponse { status: SERVING }


def service(name, method, behaviour):
    handler = grpc.unary_unary_rpc_method_handler(behaviour)
    return grpc.method_handlers_generic_handler(name, {method: handler})


address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
server = grpc.server(futures.ThreadPoolExecutor())
server.add_generic_rpc_handlers(
    (service("players.Players", "Add", add), service("grpc.health.v1.Health", "Check", check))
)
port = server.add_insecure_port(address)
server.start()
print(f"127.0.0.1:{port}", flush=True)
sys.stdin.read()
server.stop(0)
