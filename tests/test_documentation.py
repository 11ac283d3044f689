"""README and docs: what they tell to run runs, or, where it runs long, has flags that exist."""

import importlib
import os
import re

import pytest
from absl import flags

from examples.serving import client
from launchers import catalogue
from launchers.settings import define_flags, from_flags
from tests import documentation, documented_python
from tests.source_tree import MODULES, ROOT, imported_modules

BLOCKS = documentation.blocks()
# A block in YAML has a command, too.
WITH_COMMANDS = [*BLOCKS, *documentation.docstring_commands()]
PROGRAMS = [
    pytest.param(*program, id=f"{block} {program[1]}")
    for block in WITH_COMMANDS
    for program in documentation.programs(block)
]
SCRIPTS = [
    pytest.param(*script, id=f"{block} {script[0]}")
    for block in WITH_COMMANDS
    for script in documentation.scripts(block)
]
# What a launcher needs where a command leaves it out by "...".
ELSEWHERE = {"prepare": ["--output_dir=records/mine", "--manifest=data/manifest.csv"]}


def test_there_are_blocks_of_every_kind():
    assert len(PROGRAMS) > 70 and len(SCRIPTS) > 3
    assert any(block.page == "launchers/train.py" for block in WITH_COMMANDS)
    assert documentation.of_language("python", is_long=False)
    assert documentation.of_language("python", is_long=True)


def test_shell_is_marked_as_long():
    """None is run here: each makes records, trains, or needs something of the user's."""
    assert [str(block) for block in BLOCKS if block.language == "bash" and not block.is_long] == []


@pytest.mark.parametrize(("package", "name", "arguments"), PROGRAMS)
def test_programs_take_the_flags(package, name, arguments, monkeypatch):
    monkeypatch.chdir(ROOT)
    more = {}
    if "--" in arguments:
        place = arguments.index("--")
        arguments, after = arguments[:place], arguments[place + 1 :]
        rest = catalogue.rest(name, package)
        assert rest, "what follows -- belongs to no flag"
        more = {rest: tuple(after)}
    values = flags.FlagValues()
    settings_class = catalogue.settings_class(name, package)
    if "..." in arguments:
        # The flags that another command of the page shows.
        arguments = [argument for argument in arguments if argument != "..."]
        arguments += ELSEWHERE[name]
    define_flags(settings_class, values)
    if "--help" in arguments:
        arguments = [argument for argument in arguments if argument != "--help"]
        values.mark_as_parsed()
        return
    assert values(["program", *arguments])[1:] == [], "what is no flag"
    from_flags(settings_class, values, **more)


@pytest.mark.parametrize(("path", "arguments"), SCRIPTS)
def test_scripts_take_the_arguments(path, arguments):
    parsers = {"examples/serving/client.py": client.parser()}
    assert (ROOT / path).is_file()
    if path in parsers:
        parsers[path].parse_args(arguments)
    else:
        assert arguments == [], "the script has no parser"


def test_nothing_else_is_run_by_python():
    """Such as a benchmark by its path, which finds none of our packages."""
    known = re.compile(r"-m (launchers|benchmarks)$|-c$|examples/")
    others = [
        f"{block}: python {call}"
        for block in WITH_COMMANDS
        if block.language in ("bash", "yaml")
        for call in documentation.python_calls(block)
        if not known.match(call)
    ]
    assert others == []


@pytest.mark.parametrize("block", documentation.of_language("python", is_long=True), ids=str)
def test_long_python_names_what_there_is(block):
    documented_python.check(block.text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("from ogm_tf.analysis import imbalances", "no module ogm_tf.analysis.imbalances"),
        ("import ogm_tf.analyses", "no module ogm_tf.analyses"),
        ("ogm_tf.fusion.Concatenate(6)", "no module ogm_tf.fusion.Concatenate"),
        ("from ogm_tf import OGM as Policy\nPolicy.of(1)", "has no of"),
        ("ogm_tf.OGMGE(0.8, endepoch=9)", "unexpected keyword argument 'endepoch'"),
        ("ogm_tf.fusion.Concat()", "missing a required argument: 'num_classes'"),
        ("ogm_tf.modulation.coefficients(ratios, 0.5, rule, 3)", "too many positional"),
        ("m = ogm_tf.OGMModel(a, b)\nm.unimodal_logits(x, train=True)", "argument 'train'"),
    ],
)
def test_what_there_is_not_is_found(text, reason):
    with pytest.raises(documented_python.Unknown, match=reason):
        documented_python.check(text)


def test_the_api_explains_the_modules_that_pages_name():
    listed = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text("utf-8"), re.MULTILINE)
    for name in listed:
        module, _, attribute = name.rpartition(".")
        assert name in MODULES or hasattr(importlib.import_module(module), attribute), name
    named = set()
    for page in documentation.pages():
        text = page.read_text("utf-8")
        named.update(re.findall(r"\bogm_tf(?:\.\w+)+", text.replace("ogm_tf/", "ogm_tf.")))
        for block in documentation.blocks_of(page):
            if block.language == "python":
                named.update(imported_modules(block.text, "block.py"))
    modules = {longest_module(name) for name in named if name.startswith("ogm_tf.")}
    assert {"ogm_tf.analysis.imbalance", "ogm_tf.confidence"} < modules
    explained = {longest_module(name) for name in listed}
    # Of a package, what it gives from its parts.
    explained |= {name.rpartition(".")[0] for name in explained}
    assert sorted(modules - explained) == []


def longest_module(name):
    """The module of ours that a dotted name begins with."""
    while name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def test_targets_of_make_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for block in BLOCKS
        if block.language == "bash"
        for target in re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE)
    }
    assert named and named <= targets


def test_links_lead_somewhere():
    broken = []
    for page in documentation.pages():
        text = page.read_text("utf-8")
        for block in documentation.blocks_of(page):
            text = text.replace(block.text, "")
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if not link.startswith("http") and not os.path.exists(page.parent / link):
                broken.append(f"{page.name}: {link}")
    assert broken == []
