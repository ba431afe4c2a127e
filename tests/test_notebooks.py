"""Every notebook runs from its first cell to its last, and the README's Python does as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGER = "03-images"  # which measures, and has kernels that no test has
REASON = "executing notebooks needs sepconv[notebooks]"


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem, marks=pytest.mark.sweep if path.stem == LONGER else ()) for path in NOTEBOOKS])
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason=REASON)
    nbformat = pytest.importorskip("nbformat", reason=REASON)
    kernelspec = pytest.importorskip("jupyter_client.kernelspec", reason=REASON)
    manager = pytest.importorskip("jupyter_client.manager", reason=REASON)
    for package in ("ipykernel", "matplotlib"):
        pytest.importorskip(package, reason=REASON)

    class RunningInterpreter(kernelspec.KernelSpecManager):
        """The kernel is this very Python, whatever kernels are installed elsewhere under the same name."""

        def get_kernel_spec(self, kernel_name: str) -> object:
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return kernelspec.KernelSpec(argv=command, display_name="Python 3", language="python")

    kernels = manager.AsyncKernelManager(kernel_spec_manager=RunningInterpreter())
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    # The working folder is an empty one: a notebook that reads a file beside it would not run for a reader who has only the notebook.
    nbclient.NotebookClient(notebook, km=kernels, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells and all(cell.execution_count for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_committed_with_its_results(path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason=REASON)
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in cells)
    assert path.stat().st_size < 500 * 1024


@pytest.mark.sweep
def test_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (FOLDER.parent / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    here = [block for block in blocks if 'device="cuda"' not in block]
    assert len(here) == 2
    for block in here:
        exec(block, {})
    assert capsys.readouterr().out.startswith("9800\n")
