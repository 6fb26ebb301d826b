"""Calls one method with Python's own gRPC library and prints what came of it as a line of JSON.

call.py ADDRESS PATH KIND TOKEN REQUEST...: KIND is unary, server_stream or client_stream; requests and responses are messages in
hex, so that no stubs are needed on this side.
"""

import json
import sys

import grpc


def main() -> None:
    address, path, kind, token, *requests = sys.argv[1:]
    messages = [bytes.fromhex(each) for each in requests]
    metadata = [("authorization", f"Bearer {token}"), ("x-request-id", "from-python")]
    answer = {"code": 0, "message": "", "details": "", "responses": []}
    with grpc.insecure_channel(address) as channel:
        try:
            if kind == "unary":
                responses = [channel.unary_unary(path)(messages[0], metadata=metadata, timeout=30)]
            elif kind == "server_stream":
                responses = channel.unary_stream(path)(messages[0], metadata=metadata, timeout=30)
            else:
                responses = [channel.stream_unary(path)(iter(messages), metadata=metadata, timeout=30)]
            for response in responses:
                answer["responses"].append(response.hex())
        except grpc.RpcError as error:
            trailers = dict(error.trailing_metadata() or [])
            answer["code"] = error.code().value[0]
            answer["message"] = error.details()
            answer["details"] = trailers.get("grpc-status-details-bin", b"").hex()
    print(json.dumps(answer))


main()
