"""The rules on who imports whom and what loads what; the layers themselves are import-linter's, run by `make lint`."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OWNERS = {
    "openai": ["harness/batch_endpoint.py", "harness/stages/completion.py"],
    "jinja2": ["harness/templates.py"],
    "markdown_it": ["harness/answers.py"],
    "pydantic": ["harness/store.py", "harness/study.py"],
    "matplotlib": [
        "harness/drawing.py",
        "harness/multiples.py",
        "harness/report/paper/figures.py",
        "harness/stages/figure.py",
    ],
    "sqlite3": ["harness/database.py", "harness/snapshot.py"],
    "xllamacpp": ["harness/local_server.py"],
    "datasets": ["harness/text.py"],
    "mlflow": ["harness/exporters/mlflow.py"],
    "wandb": ["harness/exporters/wandb.py"],
    "lm_eval": ["harness/lm_eval.py"],
    "openevolve": ["harness/loops/openevolve.py"],
    "inspect_ai": ["harness/loops/inspect_task.py"],
    "shinka": [],
    "ray": ["harness/executors/ray.py"],
    "submitit": ["harness/executors/slurm.py"],
}


@cache
def imports(file: Path) -> frozenset[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return frozenset(found)


def modules(folder: str) -> list[Path]:
    """Those of a folder; the corpus of candidates is data, and some of it is no Python."""
    return sorted(file for file in (ROOT / folder).rglob("*.py") if "corpus" not in file.parts)


def roots(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)}


def test_what_enters_the_container_stands_alone() -> None:
    allowed = set(sys.stdlib_module_names) | {"torch", "transformers", "numpy", "safetensors", "sandbox"}
    for file in modules("sandbox"):
        assert roots(file) <= allowed, file


def test_reference_pruners_use_torch_and_the_interface_alone() -> None:
    for file in modules("reference_pruners"):
        assert imports(file) <= {"torch", "sandbox.interface", "sandbox.masks", "sandbox.allocation"}, file


def test_each_heavy_dependency_has_one_owner() -> None:
    for package, owners in OWNERS.items():
        users = [str(file.relative_to(ROOT)) for file in modules("harness") if package in roots(file)]
        assert [user for user in users if not user.startswith("harness/testing/")] == owners, package
    docker = {str(file.relative_to(ROOT)) for file in modules("harness") if "docker" in roots(file)}
    assert all(user.startswith("harness/sandboxes/") for user in docker)


def test_nothing_unpickles() -> None:
    for file in [*modules("harness"), *modules("sandbox"), *modules("reference_pruners"), *modules("tools")]:
        assert not imports(file) & {"pickle", "dill", "shelve", "marshal", "joblib"}, file
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "load" and isinstance(node.value, ast.Name):
                assert node.value.id != "torch", f"torch.load in {file}"


def test_generated_code_is_never_imported() -> None:
    for file in [*modules("harness"), *modules("sandbox"), *modules("tools"), *modules("tests")]:
        assert "generated" not in roots(file), file


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["study", "--help"],
        ["export", "--help"],
        ["evaluate", "--help"],
        ["verify-literature", "--help"],
        ["data", "--help"],
        ["pack", "--help"],
        ["verify", "--help"],
        ["ideas"],
        ["pruners"],
    ],
)
def test_light_commands_load_nothing_heavy(arguments: list[str]) -> None:
    heavy = ("torch", "transformers", "pandas", "matplotlib", "openai")
    program = f"""
import sys
from harness.cli import main
try:
    main({arguments!r})
except SystemExit as done:
    assert not done.code, done.code
loaded = [name for name in {heavy!r} if name in sys.modules]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, cwd=ROOT)


def test_no_path_of_a_machine_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=False, cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.decode().split("\0"):
        file = ROOT / name
        if name and file.is_file() and file.suffix in {".py", ".md", ".toml", ".sh", ".json", ".j2", ".yaml", ".lock"}:
            text = file.read_text(errors="replace")
            assert "/root" + "/" not in text.replace("/proc/1/root/", ""), name
            assert "/work" + "/" not in text, name
