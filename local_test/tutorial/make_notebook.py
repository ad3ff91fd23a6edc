"""Make the notebook of the script: ``python make_notebook.py`` writes gdelt.ipynb beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
_CELL = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)


def notebook_of(script: str) -> dict[str, object]:
    """Return a notebook with the cells of a script, which ``# %%`` begins."""
    _, *parts = _CELL.split(script)
    cells = []
    for number, (kind, text) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        content = text.strip("\n")
        cell: dict[str, object] = {"id": f"cell-{number}", "metadata": {}}
        if kind:
            content = re.sub(r"^# ?", "", content, flags=re.MULTILINE)
            cell |= {"cell_type": "markdown"}
        else:
            content = content.replace("  # noqa: E402 - where it is used", "")
            content = content.replace("  # noqa: E402", "")
            cell |= {"cell_type": "code", "execution_count": None, "outputs": []}
        cells.append(cell | {"source": content.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


if __name__ == "__main__":
    made = notebook_of((HERE / "gdelt.py").read_text(encoding="utf-8"))
    text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
    (HERE / "gdelt.ipynb").write_text(text, encoding="utf-8")
