"""What every notebook owes its reader: the same parts, named parameters, numbers from data."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from infoflow.parameters import notebook_parameters

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
ALL = sorted(FOLDER.glob("*.ipynb"))
NAMES = (
    *("a2", "by_", "claims", "eah", "fig", "frozen"),
    *("printed", "simignore", "sinks", "table1", "which", "words"),
)
RESULTS = [path for path in ALL if path.stem.startswith(NAMES)]
SECTIONS = [
    *("Definition", "One image", "The task", "Control", "Paper beside ours"),
    *("Limits", "Try it yourself", "Provenance"),
]


def read(path):
    return nbformat.read(path, as_version=4)


def prose(path):
    return [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]


def code(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def named(paths):
    return [pytest.param(path, id=path.stem) for path in paths]


def test_all_notebooks_are_here():
    assert [path.stem for path in ALL] == [
        "a2_topk",
        "any_model",
        "arms",
        "by_which_road",
        "claims",
        "eah",
        "explorer",
        "fig1_flow_overview",
        "fig2_attention_flow",
        "fig3_cam_reasoning",
        "fig4_cam_presence",
        "fig5_truncation",
        "fig6_truncation_matrix",
        "fig7_cam_sites",
        "fig8_cam_more",
        "fig9_without_picture",
        "frozen",
        "image_tokens",
        "model_card",
        "own_picture",
        "plants",
        "printed_numbers",
        "shapes_datasheet",
        "simignore",
        "sinks",
        "table1",
        "which_map",
        "words",
    ]


@pytest.mark.parametrize("path", named(RESULTS))
def test_result_pages_have_the_same_parts_in_the_same_order(path):
    headings = re.findall(r"^## (.+)$", "\n\n".join(prose(path)), flags=re.MULTILINE)
    assert headings == SECTIONS


@pytest.mark.parametrize("path", named(RESULTS))
def test_result_pages_open_with_one_claim_of_the_paper(path):
    first = prose(path)[0]
    claims = re.findall(r"^> \*\*Claim\.\*\* The paper says: .+$", first, flags=re.MULTILINE)
    assert len(claims) == 1
    assert "".join(prose(path)).count("**Claim.**") == 1


@pytest.mark.parametrize("path", named(RESULTS))
def test_result_pages_say_first_what_was_found(path):
    cells = read(path).cells
    first = next(i for i, cell in enumerate(cells) if cell.source.startswith("## "))
    *_, finding, figure = (cell for cell in cells[:first] if cell.cell_type == "code")
    assert "finding" in finding.metadata.tags
    assert finding.outputs[-1].data["text/plain"].startswith("**Found.**")
    assert "<figure" in figure.outputs[-1].data["text/html"]


@pytest.mark.parametrize("path", named(RESULTS))
def test_definition_goes_from_equation_to_shapes_to_code(path):
    text = "\n".join(prose(path))
    definition = text.split("## Definition")[1].split("## One image")[0]
    assert definition.index("$$") < definition.index("In tensors")
    assert re.search(r"Eq\. \d", definition)


@pytest.mark.parametrize("path", named(ALL))
def test_there_is_one_title(path):
    titles = re.findall(r"^# .+$", "\n".join(prose(path)), flags=re.MULTILINE)
    assert len(titles) == 1
    assert prose(path)[0].startswith(titles[0])


@pytest.mark.parametrize("path", named(ALL))
def test_parameters_have_types_and_help(path):
    assert notebook_parameters(path)
    (cell,) = (c for c in code(path) if "parameters" in c.metadata.get("tags", []))
    for line in cell.source.splitlines():
        assert re.fullmatch(r"\w+: [\w |]+ = .+  # .{10,}", line), line


@pytest.mark.parametrize("path", named(ALL))
def test_every_parameter_is_used(path):
    names = {
        node.id
        for cell in code(path)
        if "parameters" not in cell.metadata.get("tags", [])
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Name)
    }
    assert set(notebook_parameters(path)) <= names


@pytest.mark.parametrize("path", named(ALL))
def test_prose_holds_no_result(path):
    for text in prose(path):
        plain = re.sub(r"\$\$.*?\$\$|\$.*?\$|`.*?`", "", text, flags=re.DOTALL)
        plain = plain.replace("LLaVA-1.5", "")
        found = re.findall(r"\d+(?:\.\d+)?\s?%|\d+\.\d+|\d+ (?:points|items|cuts)", plain)
        assert not found, found


@pytest.mark.parametrize("path", named(ALL))
def test_figures_come_with_their_words(path):
    for cell in code(path):
        assert "plt." not in cell.source
        assert not cell.source.rstrip().endswith(";")
        for output in cell.outputs:
            kinds = set(output.get("data", {}))
            assert "image/png" not in kinds, cell.source
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            if "text/html" in kinds:
                assert not output["data"]["text/plain"].startswith("<infoflow")


@pytest.mark.parametrize("path", named(ALL))
def test_outputs_are_stored(path):
    for cell in code(path):
        assert cell.execution_count is not None, cell.source
    shown = [cell for cell in code(path) if cell.outputs]
    assert len(shown) >= len(code(path)) - 2  # parameters and set-up show nothing


@pytest.mark.parametrize("path", named(ALL))
def test_nothing_volatile_is_stored(path):
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not {"papermill", "widgets"} & set(notebook.metadata)
    for cell in notebook.cells:
        assert not {"papermill", "execution"} & set(cell.metadata)
    text = path.read_text()
    assert str(Path.home()) not in text
    assert "/tmp/" not in text


@pytest.mark.parametrize("path", named(ALL))
def test_pages_end_with_their_provenance(path):
    last = code(path)[-1]
    (output,) = last.outputs
    assert 'class="provenance"' in output["data"]["text/html"]


@pytest.mark.parametrize("path", named(ALL))
def test_links_lead_to_pages(path):
    for target in re.findall(r"\]\(([^)]+)\)", "\n".join(prose(path))):
        assert target.startswith("/book/"), target
        assert (FOLDER.parent / target.lstrip("/").split("#")[0]).exists(), target
