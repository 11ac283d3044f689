"""Clients of the SavedModel that are not Python's TensorFlow: C, the command line, and REST."""

import http.server
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from examples.serving import client
from tests.integration import rest_server
from tests.ogm_tf.serving import tiny_network
from tests.ogm_tf.serving.tiny_network import CLASS_NAMES

C_CLIENT = pathlib.Path(__file__).resolve().parents[2] / "examples" / "serving" / "client.c"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "1"
    tiny_network.export(path)
    return path


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(str(exported)).signatures


@pytest.fixture(scope="module")
def clips():
    """Two clips as the bytes of their files."""
    inputs = tiny_network.raw(2, samples=300, frames=3)
    waveforms = (inputs["waveform"] * 32767).astype(np.int16)
    return [
        (tiny_network.wav(waveform), [tiny_network.jpeg(frame) for frame in frames])
        for waveform, frames in zip(waveforms, inputs["frames"], strict=True)
    ]


@pytest.fixture(scope="module")
def expected(signatures, clips):
    answer = signatures["encoded"](
        audio_wav=tf.constant([sound for sound, _ in clips]),
        frames_jpeg=tf.constant([frames for _, frames in clips]),
    )
    return {name: value.numpy() for name, value in answer.items()}


def write_clip(folder, clip):
    """Writes a clip's files, and returns their paths."""
    sound, frames = clip
    contents = {"clip.wav": sound} | {f"{i}.jpg": frame for i, frame in enumerate(frames)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [str(folder / name) for name in contents]


@pytest.mark.slow
def test_a_program_in_c(exported, clips, expected, tmp_path):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("There is no C compiler.")
    library = tf.sysconfig.get_lib()
    program = tmp_path / "client"
    subprocess.run(
        [
            compiler, "-std=c11", "-Wall", "-Werror", "-o", str(program), str(C_CLIENT),
            f"-I{tf.sysconfig.get_include()}", f"-L{library}", f"-Wl,-rpath,{library}",
            "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2",
        ],
        check=True,
    )  # fmt: skip
    command = [str(program), str(exported), *write_clip(tmp_path, clips[1])]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names, *columns = zip(*(line.split("\t") for line in output.splitlines()), strict=True)
    assert list(names) == CLASS_NAMES
    answered = ("probabilities", "audio_probabilities", "visual_probabilities")
    for name, column in zip(answered, columns, strict=True):
        np.testing.assert_allclose(
            [float(value) for value in column], expected[name][1], rtol=0, atol=1e-5
        )
    wrong = tmp_path / "clip.wav"
    wrong.write_bytes(tiny_network.wav(np.zeros(500), 8000))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not done.stdout
    assert "the model, 1000 Hz. Received: sample_rate_hz=8000." in done.stderr


@pytest.mark.slow
def test_the_command_line(exported, signatures, tmp_path):
    inputs = tiny_network.raw()
    for name, value in inputs.items():
        np.save(tmp_path / f"{name}.npy", value)
    subprocess.run(
        [
            sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "run",
            "--dir", str(exported), "--tag_set", "serve", "--signature_def", "serving_default",
            "--inputs", "waveform=waveform.npy;frames=frames.npy", "--outdir", "answers",
        ],
        cwd=tmp_path, capture_output=True, check=True,
    )  # fmt: skip
    answer = signatures["serving_default"](**{n: tf.constant(v) for n, v in inputs.items()})
    assert {file.stem for file in (tmp_path / "answers").iterdir()} == answer.keys()
    for name, value in answer.items():
        saved = np.load(tmp_path / "answers" / f"{name}.npy", allow_pickle=True)
        if name == "label":
            assert list(saved) == list(value.numpy())
        else:
            np.testing.assert_allclose(saved, value, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def url(signatures):
    with rest_server.of_model(signatures) as url:
        yield url


@pytest.mark.parametrize("version", [None, 1])
def test_the_client_classifies_files(url, clips, expected, version):
    answers = client.Client("mine", url, version).classify(clips)
    assert len(answers) == 2
    for row, answer in enumerate(answers):
        assert answer.pop("label") == expected["label"][row].decode()
        assert answer.keys() == expected.keys() - {"label"}
        for name, values in answer.items():
            np.testing.assert_allclose(values, expected[name][row], rtol=0, atol=1e-6)


def test_the_client_asks_about_arrays(url, signatures):
    inputs = tiny_network.raw(2)
    for signature, names in (
        ("serving_default", ["waveform", "frames"]),
        ("raw_audio", ["waveform"]),
        ("raw_visual", ["frames"]),
    ):
        rows = [{name: inputs[name][row] for name in names} for row in range(2)]
        answers = client.Client("mine", url).ask(signature, rows)
        wanted = signatures[signature](**{name: tf.constant(inputs[name]) for name in names})
        for answer, probabilities in zip(answers, wanted["probabilities"], strict=True):
            np.testing.assert_allclose(answer["probabilities"], probabilities, rtol=0, atol=1e-6)


def test_the_client_says_why_the_server_refuses(url, clips, tmp_path, capsys):
    wrong = tiny_network.wav(np.zeros(500), 8000)
    with pytest.raises(client.ServingError, match=r"1000 Hz. Received: sample_rate_hz=8000\."):
        client.Client("mine", url).classify([(wrong, clips[0][1])])
    with pytest.raises(client.ServingError, match="/v1/models/other:predict"):
        client.Client("other", url).classify(clips)
    files = write_clip(tmp_path, (wrong, clips[0][1]))
    with pytest.raises(SystemExit, match="1"):
        client.main(["--url", url, *files])
    assert "1000 Hz" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="1"):
        client.main(["--url", "http://localhost:9", *files])
    assert "http://localhost:9: " in capsys.readouterr().err


def test_the_client_says_what_is_no_file(url, clips, tmp_path, capsys):
    wav, *jpegs = write_clip(tmp_path, clips[0])
    for files in ([str(tmp_path / "no.wav"), *jpegs], [wav, str(tmp_path / "no.jpg")]):
        with pytest.raises(SystemExit, match="1"):
            client.main(["--url", url, *files])
        printed = capsys.readouterr()
        assert str(tmp_path / "no.") in printed.err and url not in printed.err
        assert not printed.out


class Stranger(http.server.BaseHTTPRequestHandler):
    """Any server that knows nothing of predictions."""

    content = b""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.content is None:
            self.wfile.write(b"\x00\x00\x12\x04 frames of another protocol\r\n")
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>Welcome</html>", "no answer of predictions: b'<html>Welcome"),
        (b'{"outputs": []}', "no answer of predictions: b'{\"outputs"),
        (b"[1, 2]", "no answer of predictions: b'\\[1, 2\\]'"),
        (b"\xff\xfe", "no answer of predictions"),
        (None, "no HTTP server: BadStatusLine"),
    ],
)
def test_the_client_says_what_is_no_answer(content, reason, clips, tmp_path, capsys):
    handler = type("Handler", (Stranger,), {"content": content})
    with rest_server.served(handler) as url:
        with pytest.raises(client.ServingError, match=reason):
            client.Client("mine", url).classify(clips)
        with pytest.raises(SystemExit, match="1"):
            client.main(["--url", url, *write_clip(tmp_path, clips[0])])
        assert capsys.readouterr().err.startswith(f"{url}: This is no ")


def test_the_client_says_what_is_no_url(clips, tmp_path, capsys):
    with pytest.raises(SystemExit, match="1"):
        client.main(["--url", "server", *write_clip(tmp_path, clips[0])])
    assert "unknown url type" in capsys.readouterr().err


def test_the_clients_program(url, clips, expected, tmp_path, capsys):
    client.main(["--url", url, *write_clip(tmp_path, clips[1])])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == expected["label"][1].decode()
    assert lines[1:] == [
        f"{name}: " + " ".join(f"{value:.4f}" for value in expected[name][1])
        for name in ("audio_probabilities", "probabilities", "visual_probabilities")
    ]
