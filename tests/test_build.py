"""BUILD covers the tree: every Python file in one target, every label real, every import a dep."""

import ast
import collections
import shutil
import subprocess

import pytest

from tests.source_tree import MODULES, PACKAGES, ROOT, imported_modules_of, python_files

NATIVE_RULES = {"genrule", "package", "py_binary", "py_library", "py_test"}


def _read_targets() -> list[dict]:
    """Returns the arguments of each rule in BUILD, and the rule's own name as `rule`."""
    targets = []
    for statement in ast.parse((ROOT / "BUILD").read_text("utf-8")).body:
        call = statement.value
        if isinstance(call, ast.Call):
            arguments = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
            targets.append({"rule": call.func.id, **arguments})
    return targets


RULES = _read_targets()
DATA = [data for target in RULES for data in target.get("data", [])]
TARGETS = {target["name"]: target for target in RULES if "name" in target}
OWNERS = collections.defaultdict(list)
for _name, _target in TARGETS.items():
    for _source in _target.get("srcs", []):
        OWNERS[_source].append(_name)


def _reached(name: str) -> set[str]:
    """Returns the targets that a target depends on, however far, itself included."""
    reached, waiting = set(), [name]
    while waiting:
        current = waiting.pop()
        if current not in reached:
            reached.add(current)
            waiting += [label.removeprefix(":") for label in TARGETS[current].get("deps", [])]
    return reached


def _needed(path: str) -> set[str]:
    """Returns the targets that own what a file imports."""
    files = {MODULES[name] for name in imported_modules_of(path) if name in MODULES}
    return {owner for file in files for owner in OWNERS[file]}


def _rule_to_add(path: str) -> str:
    """Returns what to paste into BUILD for a file that no target has yet."""
    name = path.removesuffix(".py")
    arguments = {"name": name, "srcs": [path], "deps": _needed(path)}
    if name.rpartition("/")[2].startswith("test_"):
        rule = "py_test"
        arguments["srcs"].append(":pytest_main")
        arguments["deps"].add("tests/support")
        arguments |= {"size": "small", "args": [path], "main": "pytest_main.py"}
    elif '\nif __name__ == "__main__":' in (ROOT / path).read_text("utf-8"):
        rule = "py_binary"
    elif path.split("/")[0] not in PACKAGES:
        rule = "py_library"
        arguments["testonly"] = path.startswith("tests/")
    else:
        return f'"{path}",  # in the srcs of its package\'s py_library'
    arguments["deps"] = [f":{target}" for target in sorted(arguments["deps"])]
    lines = [f"    {key} = {value!r}," for key, value in arguments.items() if value]
    return "\n".join([f"{rule}(", *lines, ")"])


def test_only_native_rules_with_distinct_names():
    assert {target["rule"] for target in RULES} <= NATIVE_RULES
    names = [target["name"] for target in RULES if "name" in target]
    assert len(names) == len(TARGETS)


def test_every_python_file_is_in_exactly_one_target():
    files = python_files()
    missing = [path for path in files if not OWNERS[path]]
    assert not missing, "Add to BUILD:\n" + "\n\n".join(map(_rule_to_add, missing))
    assert {path: OWNERS[path] for path in files if len(OWNERS[path]) > 1} == {}


def test_every_file_and_label_exists():
    for name, target in TARGETS.items():
        for entry in [*target.get("srcs", []), *target.get("data", [])]:
            is_label = entry.startswith(":")
            known = entry[1:] in TARGETS if is_label else (ROOT / entry).is_file()
            assert known, f"{name} names {entry}, which does not exist."
        for label in target.get("deps", []):
            assert label.startswith(":") and label[1:] in TARGETS, (
                f"{name} depends on {label}, which is not a target."
            )


@pytest.mark.parametrize("name", TARGETS)
def test_deps_hold_what_the_sources_import(name):
    sources = [path for path in TARGETS[name].get("srcs", []) if path.endswith(".py")]
    needed = set().union(*(_needed(path) for path in sources))
    assert sorted(needed - _reached(name)) == []


def test_the_two_libraries_do_not_depend_on_each_other():
    for name in TARGETS:
        for library, other in [("ogm_tf", "input_pipelines"), ("input_pipelines", "ogm_tf")]:
            if name.startswith(library):
                wrong = [
                    found for found in _reached(name) if found.startswith((other, "launchers"))
                ]
                assert not wrong, f"{name} depends on {wrong}."


def test_every_test_is_run_by_pytest():
    # A test file that is merely executed would define its functions and pass.
    for path in python_files():
        if path.rpartition("/")[2].startswith("test_"):
            for target in (TARGETS[owner] for owner in OWNERS[path]):
                assert target["rule"] == "py_test" and target["size"]
                assert (target["main"], target["args"]) == ("pytest_main.py", [path])


@pytest.mark.parametrize(
    "command", [["bazel", "--batch", "query", "//..."], ["buildifier", "--mode=check", "BUILD"]]
)
def test_the_tools_accept_it(command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if command[0] == "bazel":
        assert {f"//:{name}" for name in TARGETS} <= set(done.stdout.split())


def test_every_preset_goes_with_the_launchers():
    presets = {str(path.relative_to(ROOT)) for path in ROOT.glob("launchers/presets/**/*.flags")}
    assert presets <= set(DATA)
