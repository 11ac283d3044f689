"""A server of TensorFlow Serving's REST protocol that answers by a loaded SavedModel."""

import base64
import contextlib
import http.server
import json
import threading

import tensorflow as tf


class Server(http.server.BaseHTTPRequestHandler):
    """TensorFlow Serving's REST protocol in its row format, as its documentation says."""

    signatures: dict

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            assert self.path in ("/v1/models/mine:predict", "/v1/models/mine/versions/1:predict")
            status, answer = 200, {"predictions": self.predict(request)}
        except (AssertionError, tf.errors.InvalidArgumentError) as error:
            status, answer = 400, {"error": getattr(error, "message", self.path)}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def predict(self, request):
        function = self.signatures[request["signature_name"]]
        specs = function.structured_input_signature[1]
        rows = request["instances"]
        assert all(row.keys() == specs.keys() for row in rows)
        outputs = function(
            **{
                name: tf.constant([_decoded(row[name]) for row in rows], spec.dtype)
                for name, spec in specs.items()
            }
        )
        columns = {
            name: tf.nest.map_structure(_text, v.numpy().tolist()) for name, v in outputs.items()
        }
        return [{name: c[row] for name, c in columns.items()} for row in range(len(rows))]

    def log_message(self, *_):
        pass


def _decoded(value):
    if isinstance(value, dict):
        assert value.keys() == {"b64"}
        return base64.b64decode(value["b64"], validate=True)
    return [_decoded(item) for item in value] if isinstance(value, list) else value


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


@contextlib.contextmanager
def served(handler):
    """Gives the URL of a server whose requests a class handles."""
    with http.server.HTTPServer(("localhost", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def of_model(signatures):
    """Gives the URL of a server of the model `mine`, version 1."""
    return served(type("Handler", (Server,), {"signatures": signatures}))
