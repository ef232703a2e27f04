"""The package as a user gets it: light import, one-way rooms, a wheel with its data."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "trait_probe"

# A module may import what has its own rank or a lower one; the longest matching prefix counts.
RANKS = {
    "errors": 0,
    "_axes": 0,
    "basis": 0,
    "organisms.registry": 0,  # names to folders; the organisms themselves come later
    "evidence": 1,
    "judges": 2,
    "judges.local": 7,
    "runs": 2,
    "prompts": 2,
    "identity": 2,
    "vectors": 3,
    "hooks": 4,
    "models": 5,
    "forward": 6,
    "vectors.bank": 7,
    "vectors.extract": 7,
    "vectors.contrast_sets": 7,
    "vectors.steering": 7,
    "vectors.panel": 7,
    "vectors.objective": 7,
    "vectors.steered": 7,
    "vectors.strength": 7,
    "vectors.subspace": 7,
    "vectors.search": 7,
    "vectors.transfer": 7,
    "organisms": 8,
    "report": 8,
    "experiments": 9,
    "commands": 9,
    "prompts.__main__": 10,
    "": 10,
}


def rank(module: str) -> int:
    parts = module.removeprefix("trait_probe").lstrip(".").split(".")
    prefixes = [".".join(parts[:n]) for n in range(len(parts), -1, -1)]
    return next(RANKS[prefix] for prefix in prefixes if prefix in RANKS)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, known: frozenset[str] = frozenset()) -> set[str]:
    """Modules of this package that a module imports; `from package import module` is the module."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= whole & known or {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.split(".")[0] == "trait_probe"}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def upward(module: str, text: str) -> list[str]:
    known = frozenset(module_name(path) for path in sources())
    # The root holds no code but the lazy surface: anyone may ask it for version and folder.
    names = imported(ast.parse(text), known) - {"trait_probe"}
    return sorted(name for name in names if rank(name) > rank(module))


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_imports_go_one_way(path):
    assert upward(module_name(path), path.read_text()) == []


def test_the_direction_check_sees_a_wrong_import():
    wrong = "from trait_probe.experiments import backdoor\n"
    assert upward("trait_probe.evidence.nulls", wrong) == ["trait_probe.experiments.backdoor"]


def test_experiments_never_import_each_other():
    for path in (PACKAGE / "experiments").glob("*.py"):
        others = {
            f"trait_probe.experiments.{other.stem}"
            for other in (PACKAGE / "experiments").glob("[!_]*.py")
            if other.stem != path.stem
        }
        assert not imported(ast.parse(path.read_text())) & others, path.name


def test_only_models_and_hooks_name_transformer_lens():
    naming = {
        module_name(path)
        for path in sources()
        if any(
            name.split(".")[0] == "transformer_lens"
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
        )
    }
    assert naming <= {"trait_probe.models"} | {
        n for n in naming if n.startswith("trait_probe.hooks")
    }


RUNS_A_MODEL = {"model", "bridge", "hf_model", "original"}  # names that are called as functions
METHODS = {"generate", "forward", "run_with_cache", "run_with_hooks", "__call__"}
ENGINE = {"run_hooks", "run_logits", "Decoder"}


def forward_calls(tree: ast.AST) -> set[str]:
    """What a module calls that runs a model."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in RUNS_A_MODEL | ENGINE:
            found.add(node.func.id)
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            found.add(node.func.attr)
    return found


def test_there_is_one_forward_loop():
    """Prompts are read, continued and weighed in one module each, and run nowhere else."""
    running = {module_name(path): forward_calls(ast.parse(path.read_text())) for path in sources()}
    running = {name.removeprefix("trait_probe."): calls for name, calls in running.items() if calls}
    assert running == {
        "hooks.capture": {"model"},  # one given batch, for the self-check
        "hooks.run": {"model"},  # what the loop itself calls
        "hooks.selfcheck": {"model", "original"},
        "forward.reader": {"run_hooks"},
        "forward.generate": {"Decoder"},
        "forward.likelihood": {"run_logits"},  # given answers, token by token
        "forward.next_token": {"Decoder"},  # no answers: the token after a prompt
        "organisms.training": {"model"},  # gradients
    }


def test_the_check_for_a_second_loop_sees_one():
    loop = "def f(model, batches):\n    return [model.run_with_cache(batch) for batch in batches]\n"
    assert forward_calls(ast.parse(loop)) == {"run_with_cache"}
    assert forward_calls(ast.parse("logits = model(ids)")) == {"model"}


STATISTICS_PACKAGES = {"scipy", "sklearn", "statistics", "statsmodels"}
STATISTICS = {
    *("std", "var", "std_mean", "var_mean", "nanstd", "nanvar", "stdev", "pstdev", "variance"),
    *("median", "nanmedian", "quantile", "nanquantile", "percentile", "nanpercentile"),
    *("average", "corrcoef", "correlate", "cov", "rankdata", "searchsorted", "bootstrap"),
}
MEANS_ARE_EFFECTS = ("experiments", "report", "commands")
"""Rooms that read no activations of their own: what they would average are scores."""


def statistics_in(module: str, tree: ast.AST) -> set[str]:
    """What a module computes that the evidence layer should: packages it imports, calls it makes.

    Functions of the evidence layer may be called by any name.
    """
    forbidden = STATISTICS | (
        {"mean", "nanmean"} if module.startswith(MEANS_ARE_EFFECTS) else set()
    )
    found, from_evidence = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names} & STATISTICS_PACKAGES
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module.split(".")[0]} & STATISTICS_PACKAGES
            names = {alias.name for alias in node.names}
            if node.module.startswith("trait_probe.evidence"):
                from_evidence |= {alias.asname or alias.name for alias in node.names}
            elif not node.module.startswith("trait_probe"):
                found |= names & forbidden
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found |= {node.func.attr} & forbidden
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found |= ({node.func.id} - from_evidence) & forbidden
    return found


def test_statistics_live_in_evidence():
    """An effect, interval or p value is computed in `evidence`; the exceptions claim nothing."""
    modules = {module_name(path).removeprefix("trait_probe."): path for path in sources()}
    found = {
        name: statistics_in(name, ast.parse(path.read_text()))
        for name, path in modules.items()
        if name.split(".")[0] != "evidence"
    }
    assert {name: calls for name, calls in found.items() if calls} == {
        "vectors.fit": {"sklearn"},  # fits directions
        "vectors.extract": {"std"},  # the unit of a vector's projections, kept with the vector
        "vectors.reliability": {"median"},  # how far a direction turns with its fitting pairs
        "forward.dtypes": {"std", "corrcoef"},  # agreement of two number formats, same tokens
        "forward.generate": {"searchsorted"},  # draws a token
        "experiments._backdoor.steps": {"mean"},  # share of equal answers, a count
        "experiments._backdoor.study": {"mean"},  # share of carriers with one answer, a count
    }


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        ("import scipy.stats", "scipy"),
        ("from scipy import stats", "scipy"),
        ("from sklearn.metrics import roc_auc_score", "sklearn"),
        ("from numpy import quantile as q", "quantile"),
        ("low = np.quantile(draws, 0.025)", "quantile"),
        ("unit = controls.std(axis=1)", "std"),
        ("below = np.searchsorted(np.sort(controls), trigger)", "searchsorted"),
        ("effect = trigger.mean() - controls.mean()", "mean"),
    ],
)
def test_the_check_for_statistics_sees_one(wrong, seen):
    assert statistics_in("experiments.backdoor", ast.parse(wrong)) == {seen}


def test_the_check_for_statistics_lets_evidence_be_called():
    right = "from trait_probe.evidence.nulls import percentile\nshare = percentile(effect, null)\n"
    assert statistics_in("experiments.backdoor", ast.parse(right)) == set()
    assert statistics_in("prompts.positions", ast.parse("pooled = values.mean(axis=0)")) == set()


def test_the_experiments_package_is_empty():
    assert (PACKAGE / "experiments" / "__init__.py").read_text() == ""


HEAVY = ("torch", "transformer_lens", "sae_lens", "datasets", "plotly", "sklearn", "pyarrow")


@pytest.mark.parametrize(
    "module",
    [
        "trait_probe",
        "trait_probe.experiments.backdoor",
        "trait_probe.experiments.vector_optimization",
        "trait_probe.commands.project",
        "trait_probe.commands.capture",
        "trait_probe.commands.prompts",
    ],
)
def test_importing_needs_no_heavy_package(module):
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_loads():
    import trait_probe

    for name in trait_probe.__all__:
        assert getattr(trait_probe, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'extrakt'"):
        _ = trait_probe.extrakt


@pytest.mark.parametrize("name", ["backdoor", "vector_optimization"])
def test_every_public_name_of_an_experiment_loads(name):
    experiment = importlib.import_module(f"trait_probe.experiments.{name}")
    for step in experiment.__all__:
        assert getattr(experiment, step) is not None


@pytest.mark.slow
def test_the_wheel_carries_types_traits_template_and_weights(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        weights = [info for info in archive.infolist() if "/organisms/weights/" in info.filename]
    assert "trait_probe/py.typed" in names
    assert "trait_probe/report/template.html" in names
    for language in ("english", "organism"):
        assert f"trait_probe/prompts/traits/{language}/evil.yaml" in names
    for organism in ("base", "backdoored", "clean", "misaligned", "sycophant-twin"):
        assert f"trait_probe/organisms/weights/{organism}/model.safetensors" in names
    assert "trait_probe/organisms/weights/backdoored-sae/cfg.json" in names
    assert sum(info.file_size for info in weights) <= 20_000_000
    assert not any(name.startswith(("tests/", "benchmarks/", "notebooks/")) for name in names)
