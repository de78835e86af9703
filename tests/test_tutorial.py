"""docs/tutorial.ipynb runs clean, and its numbers show what its text is about."""

import json
import re

import nbformat
import pytest
from tutorial import NOTEBOOK, execute, read

EPOCHS = 5
NUMBERS = """
import json
print(json.dumps({"rows": rows, "difference": float(difference), "classes": len(val.classes),
                  "described": [dimension.owner for dimension in description.active]}))
"""


def outputs(notebook) -> list:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def kinds(notebook) -> list:
    """Of the outputs of every cell."""
    return [
        [
            (output.output_type, *sorted(output.get("data", {})))
            for output in cell.get("outputs", [])
        ]
        for cell in notebook.cells
    ]


def stderr(notebook) -> str:
    return "".join(one.text for one in outputs(notebook) if one.get("name") == "stderr")


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """(the notebook as a short training leaves it, numbers of its variables)."""
    notebook = read()
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    parameters.source, changed = re.subn(r"epochs = \d+", f"epochs = {EPOCHS}", parameters.source)
    assert changed
    notebook.cells.append(nbformat.v4.new_code_cell(NUMBERS))
    execute(notebook, tmp_path_factory.mktemp("tutorial"))
    numbers = json.loads(notebook.cells.pop().outputs[0].text)
    return notebook, numbers


def test_tutorial_prints_no_warnings(executed):
    assert stderr(executed[0]) == ""


def test_dimensions_of_ncl_and_bayesncl_agree_with_classes_more_than_those_of_simclr(executed):
    """As trained, where SimCLR's are active on every image, and at equal length."""
    rows = {(codes, method): row for codes, method, *row in executed[1]["rows"]}
    at_chance = 1 / executed[1]["classes"]
    for codes, margin in (("as trained", 0.2), ("cut to 3", 0.05)):
        adjusted = {method: rows[codes, method][3] for method in ("simclr", "ncl", "bayesncl")}
        assert min(adjusted["ncl"], adjusted["bayesncl"]) > adjusted["simclr"] + margin
    assert rows["as trained", "simclr"][1] == pytest.approx(at_chance, abs=0.01)


def test_cut_codes_have_the_length_that_the_text_gives(executed):
    lengths = [length for codes, _, length, *_ in executed[1]["rows"] if codes == "cut to 3"]
    assert len(lengths) == 3
    assert lengths == pytest.approx([3] * 3, rel=0.15)  # it is exact on the training split


def test_an_image_is_described_by_dimensions_with_names(executed):
    assert executed[1]["described"]
    assert all(executed[1]["described"])


def test_exported_file_gives_the_codes_of_the_run(executed):
    assert executed[1]["difference"] < 1e-5


def test_committed_outputs_are_whole_and_of_this_code(executed):
    committed = read()
    cells = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    assert kinds(committed) == kinds(executed[0])


def test_committed_outputs_are_small_and_name_no_folder_of_their_machine():
    assert NOTEBOOK.stat().st_size < 1e6
    assert stderr(read()) == ""
    for output in outputs(read()):
        text = output.get("text", "") + "".join(
            content for kind, content in output.get("data", {}).items() if kind.startswith("text/")
        )
        assert not re.search(r"(?<![\w<.])/\w+/|[A-Z]:\\", text)
