"""Every notebook runs from top to bottom, and its cells hold no logic of their own."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, tmp_path, monkeypatch):
    """Without a browser: that PNGs are drawn within an event loop, `test_report` holds."""
    monkeypatch.setenv("BROWSER_PATH", "/nonexistent/chrome")
    notebook = read(path)
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    said = "".join(
        str(output.get("data", {}).get("text/plain", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    if path.stem == "00_quickstart":
        assert "'trait:safety/evil': ('supported'" in said
        assert "{'trait:safety/evil': 'not supported'" in said
    if path.stem == "01_emergent_misalignment":
        assert "'shift:safety/evil:prompt': ('supported'" in said
        assert "'shift:safety/evil:unchanged': ('supported'" in said
        assert "'shift:safety/evil:replay': ('not supported'" in said
        assert "{'shift:safety/evil:prompt': 'not supported'" in said
    if path.stem == "03_external_datasets":
        assert "'separation:safety/harm, prompt': ('not supported'" in said
        assert said.count("'found'") >= 8
        assert said.count("'missed'") >= 3
    if path.stem == "04_vector_optimization":
        assert "'gain:alignment/sycophancy': ('" in said
        assert "'gain:alignment/sycophancy': ('supported'" not in said
        assert "('unsteered', 1, 0.0, 1.0, " in said
        assert "('prompt', 1, 1.0, 1.0, " in said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_clean_and_free_of_logic(path):
    for cell in read(path).cells:
        if cell.cell_type != "code":
            continue
        assert cell.outputs == []
        assert cell.execution_count is None
        logic = (ast.FunctionDef, ast.ClassDef, ast.If, ast.While, ast.Try)
        assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, logic)]
