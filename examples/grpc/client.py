"""Asks for the service's health and adds a player, through the gateway; with $TOKEN, if it is set."""

import os

import grpc

channel = grpc.insecure_channel(
    os.environ.get("GATEWAY", "127.0.0.1:8080"), options=[("grpc.enable_http_proxy", 0)]
)
token = os.environ.get("TOKEN")
metadata = [("authorization", "Bearer " + token)] if token else []

health = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10)
print("health:", "SERVING" if health == b"\x08\x01" else "unknown")
try:
    added = channel.unary_unary("/players.Players/Add")(b"Lionel", metadata=metadata, timeout=10)
    print("Add: OK,", added.decode())
except grpc.RpcError as fault:
    print("Add:", fault.code().name)
