import os
import sys

import pytest

from input_pipelines import files


@pytest.fixture(params=["local", "ram"])
def folder(request, tmp_path):
    """A folder of this machine, or of TensorFlow's file system in memory."""
    return str(tmp_path) if request.param == "local" else f"ram://{tmp_path.name}"


def test_paths():
    assert files.join("gs://a/b/", "c", "d.mp4") == "gs://a/b/c/d.mp4"
    assert files.join("/a", "/b", "c") == "/b/c" and files.join("", "a") == "a"
    assert files.join("/", "a") == "/a"
    assert files.absolute("gs://a/b/../c/./d") == "gs://a/c/d"
    assert files.absolute("a/../b") == os.path.join(os.getcwd(), "b")
    assert files.relative("gs://a/b/c", "gs://a") == "b/c"
    assert files.relative("/a/b", "/") == "a/b"
    assert files.relative("/ab/c", "/a") is None and files.relative("/a", "/a") is None
    assert (files.name("gs://a/b.MP4/"), files.suffix("gs://a.b/c.MP4")) == ("b.MP4", ".mp4")
    assert files.suffix("a.b/c") == "" and files.parent("gs://a/b/c") == "gs://a/b"
    assert files.parent("/a/b/") == "/a" and files.is_absolute("s3://x")


def test_files_and_folders(folder):
    inner = files.join(folder, "x", "y")
    files.make_folder(inner)
    path = files.join(inner, "a.txt")
    assert not files.exists(path) and files.names_in(path) == []
    files.write_text(path, "\ufeffü\r\n")
    files.write_text(path, "\ufeffü\r\n2")
    assert files.names_in(inner) == ["a.txt"] and files.size(path) == 3 + 2 + 3
    assert files.read_text(path) == "ü\r\n2"
    assert files.is_file(path) and not files.is_folder(path)
    assert files.is_folder(inner) and not files.is_file(inner) and files.exists(inner)
    with files.open_to_read(path) as file:
        file.seek(5)
        assert file.read() == b"\r\n2" and file.tell() == 8
    files.write_text(files.join(inner, "b.txt"), "b")
    files.move(files.join(inner, "b.txt"), path)
    assert files.read_bytes(path) == b"b"
    files.remove(files.join(folder, "x"))
    files.remove(files.join(folder, "x"))
    assert not files.exists(path)


def test_a_failed_write_keeps_the_older_file(folder):
    path = files.join(folder, "a.txt")
    files.make_folder(folder)
    files.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "\udc80")
    assert files.read_text(path) == "old" and files.names_in(folder) == ["a.txt"]


def test_local_files_need_no_tensorflow(tmp_path):
    code = (
        "import sys; from input_pipelines import files; files.write_text('a', 'b'); "
        "files.names_in('.'); assert 'tensorflow' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    assert os.spawnle(
        os.P_WAIT, sys.executable, sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); "
        + code, environment
    ) == 0  # fmt: skip
