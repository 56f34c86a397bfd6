"""`python -m notebooks`: executes the tour in place on the current workspace.

Belongs here: running a notebook's cells and keeping what they show, without a trace of the machine.
Keep out: what is shown (the notebook).
"""

import argparse
import base64
import io
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from warehouse import adopt_settings, load_settings

TOUR = Path(__file__).with_name("tour.ipynb")
ROOT = TOUR.parents[1]
CELL_SECONDS = 300
PICTURE_BYTES = 60_000
COLOURS = 256


class NotebookError(RuntimeError):
    """A cell failed, or shows what must not be kept; the text names the cell."""


def main(arguments: list[str] | None = None) -> int:
    """Execute the tour; 1 and one line when a cell fails, the file then stays as it was."""
    parser = argparse.ArgumentParser(prog="python -m notebooks", description=__doc__)
    parser.add_argument("--config", type=Path, help="configuration of another workspace")
    parser.add_argument(
        "--output", type=Path, default=TOUR, help="where to write; default: in place"
    )
    chosen = parser.parse_args(arguments)
    if chosen.config is not None:
        adopt_settings(load_settings(chosen.config))
    try:
        nbformat.write(executed(TOUR, Path.cwd()), chosen.output)
    except NotebookError as error:
        print(f"notebooks: {error}", file=sys.stderr)
        return 1
    print(f"executed {chosen.output}")
    return 0


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in `folder` by this environment's Python.

    Raises NotebookError for a cell that fails, writes to stderr, names a path of this machine or
    shows a picture larger than PICTURE_BYTES.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise NotebookError(_last_line(str(error))) from error
    _neutral(notebook)
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            _check(number, output, (str(folder), str(ROOT), str(Path.home())))
    return notebook


def _last_line(text: str) -> str:
    # A traceback with its colours; its last line is the error.
    lines = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines() if line.strip()]
    return lines[-1] if lines else "a cell failed"


def _neutral(notebook: nbformat.NotebookNode) -> None:
    """Keep the kernel's name and the cells; drop what differs between machines and runs."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                output.data["image/png"] = _smaller(picture)


def _smaller(picture: str) -> str:
    """A plot has few colours: with a palette it takes a third of the bytes."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        image.convert("RGB").quantize(COLOURS).save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _check(number: int, output: nbformat.NotebookNode, machine: tuple[str, ...]) -> None:
    if output.get("name") == "stderr":
        raise NotebookError(f"cell {number} warns: {output['text'].strip().splitlines()[-1]}")
    shown = str(output.get("text", "")) + str(
        {kind: value for kind, value in output.get("data", {}).items() if kind != "image/png"}
    )
    for path in machine:
        if len(path) > 1 and path in shown:
            raise NotebookError(f"cell {number} shows a path of this machine")
    picture = output.get("data", {}).get("image/png")
    if picture and len(base64.b64decode(picture)) > PICTURE_BYTES:
        size = len(base64.b64decode(picture))
        raise NotebookError(f"cell {number} shows a picture of {size:,} bytes; make it smaller")


if __name__ == "__main__":
    sys.exit(main())
