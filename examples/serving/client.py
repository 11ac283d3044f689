"""Asks TensorFlow Serving about a clip; needs nothing but Python's standard library.

python examples/serving/client.py --model=mine clip.wav frame_0.jpg frame_1.jpg
"""

import argparse
import base64
import http.client
import json
import pathlib
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any


class ServingError(Exception):
    """The server refused a request, or answered something that is no answer to it."""


class Client:
    """One model of a TensorFlow Serving.

    Args:
      model: Its name.
      url: Of the server's REST interface.
      version: Of the model; None for the highest.
      timeout_s: How long an answer may take.
    """

    def __init__(
        self,
        model: str,
        url: str = "http://localhost:8501",
        version: int | None = None,
        timeout_s: float = 60.0,
    ):
        at_version = "" if version is None else f"/versions/{version}"
        self.url = f"{url.rstrip('/')}/v1/models/{model}{at_version}"
        self.timeout_s = timeout_s

    def classify(self, clips: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[dict[str, Any]]:
        """Returns for each clip `label`, `probabilities` and `<modality>_probabilities`.

        Args:
          clips: The bytes of a 16-bit WAV file at the model's sample rate, and those of JPEG files,
            of as many frames in each clip of the request.

        Raises:
          ServingError: where the server refuses, with its reason, or does not answer as one.
          OSError: where it cannot be reached.
        """
        rows = [{"audio_wav": sound, "frames_jpeg": frames} for sound, frames in clips]
        return self.ask("encoded", rows)

    def ask(self, signature: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Returns what a signature answers, one dictionary a row.

        Args:
          signature: Such as "encoded", "serving_default", "features", "raw_audio" or "raw_visual".
          rows: Of its inputs without the axis of the batch: bytes, numbers, lists or NumPy arrays.

        Raises:
          ServingError: where the server refuses, with its reason, or does not answer as one.
          OSError: where it cannot be reached.
        """
        content = {"signature_name": signature, "instances": [_to_json(row) for row in rows]}
        request = urllib.request.Request(
            f"{self.url}:predict",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                content = response.read()
        except urllib.error.HTTPError as error:
            raise ServingError(_reason(error)) from error
        except http.client.HTTPException as error:
            # Such as the port of gRPC.
            raise ServingError(f"This is no HTTP server: {error!r}") from error
        try:
            return json.loads(content)["predictions"]
        except (ValueError, KeyError, TypeError) as error:
            raise ServingError(f"This is no answer of predictions: {content[:200]!r}") from error


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {name: _to_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _reason(error: urllib.error.HTTPError) -> str:
    text = error.read().decode(errors="replace")
    try:
        return json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        return f"{error}: {text}"


def parser() -> argparse.ArgumentParser:
    """Returns what reads the program's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://localhost:8501", help="Of the server.")
    parser.add_argument("--model", default="mine", help="Name of the model.")
    parser.add_argument("--version", type=int, help="Of the model; by default the highest.")
    parser.add_argument("wav", type=pathlib.Path, help="16-bit, at the model's sample rate.")
    parser.add_argument("jpeg", type=pathlib.Path, nargs="+", help="Frames, evenly spread.")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints what the network, its sound and its pictures say of one clip."""
    program = parser()
    given = program.parse_args(arguments)
    try:
        clip = (given.wav.read_bytes(), [path.read_bytes() for path in given.jpeg])
    except OSError as error:
        program.exit(1, f"{error}\n")
    try:
        answer = Client(given.model, given.url, given.version).classify([clip])[0]
    # A ValueError is a URL that is none.
    except (ServingError, OSError, ValueError) as error:
        program.exit(1, f"{given.url}: {error}\n")
    print(answer.pop("label"))
    for name, values in sorted(answer.items()):
        print(f"{name}:", *(f"{value:.4f}" for value in values))


if __name__ == "__main__":
    main()
