"""Validation in ComfyUI's order with its error types; the types were read off ComfyUI 0.33.0."""

import pytest

from workflows.run import pack

io = pack("workflows.host_io")
Host = pack("workflows.host").Host
PromptError = pack("workflows.host").PromptError


class Picky(io.ComfyNode):
    """Checks `a` itself, so the host does not check its range."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Picky",
            inputs=[io.Int.Input("a", min=0, max=5), io.Int.Input("b", min=0, max=5)],
            outputs=[io.Int.Output()],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, a=None):
        return a is None or a % 2 == 0 or "must be even"

    @classmethod
    def execute(cls, a, b):
        return io.NodeOutput(a + b)


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    host.nodes["Picky"] = Picky
    return host


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


SOLID = node("SolidMask", value=1.0, width=4, height=4)
IMAGE = node("MaskToImage", mask=["1", 0])
PREVIEW = node("PreviewImage", images=["2", 0])


def solid(**changes):
    return {"1": node("SolidMask", **{**SOLID["inputs"], **changes}), "2": IMAGE, "3": PREVIEW}


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ({"1": {"inputs": {}}}, "missing_node_type"),
        ({"1": node("NoSuchNode")}, "missing_node_type"),
        ({"1": SOLID}, "prompt_no_outputs"),
    ],
)
def test_whole_prompt_errors(host, prompt, kind):
    verdict = host.validate(prompt)
    assert verdict.error["type"] == kind
    assert not verdict.node_errors
    assert not verdict.outputs


def shown(source):
    """A preview of node 1, whatever that is."""
    return {"1": source, "3": node("PreviewImage", images=["1", 0])}


NODE_ERRORS = [
    ({"3": node("PreviewImage")}, "3", "required_input_missing", "images"),
    ({"3": node("PreviewImage", images=["1"])}, "3", "bad_linked_input", "images"),
    ({"3": node("PreviewImage", images=["9", 0])}, "3", "exception_during_validation", "which is absent"),
    ({**solid(), "3": node("PreviewImage", images=["2", 7])}, "3", "exception_during_validation", "output 7"),
    (shown(SOLID), "3", "return_type_mismatch", "MASK"),
    (solid(width="wide"), "1", "invalid_input_type", "wide"),
    (solid(width=0), "1", "value_smaller_than_min", "width"),
    (solid(value=1.5), "1", "value_bigger_than_max", "value"),
    (shown(node("LoadImage", image="x.png")), "1", "custom_validation_failed", "image - Invalid image file"),
    (shown(node("LoadImage", image="../x.png")), "1", "custom_validation_failed", "Invalid image file"),
    ({"1": node("Picky", a=3, b=1)}, "1", "custom_validation_failed", "a - must be even"),
    ({"1": node("Picky", a=8, b=8)}, "1", "value_bigger_than_max", "b"),
    ({"1": node("Picky", a=2, b=-1)}, "1", "value_smaller_than_min", "b"),
    (
        {
            **solid(),
            "4": node("ImageToMask", image=["2", 0], channel="x"),
            "3": node("MaskPreview", mask=["4", 0]),
        },
        "4",
        "value_not_in_list",
        "channel: 'x' not in ['red'",
    ),
]


@pytest.mark.parametrize(("prompt", "node_id", "kind", "details"), NODE_ERRORS)
def test_node_errors(host, prompt, node_id, kind, details):
    verdict = host.validate(prompt)
    assert verdict.error["type"] == "prompt_outputs_failed_validation"
    (error,) = verdict.node_errors[node_id]["errors"]
    assert error["type"] == kind
    assert details in error["details"]
    assert list(verdict.node_errors) == [node_id]  # nodes below a faulty one are not named
    with pytest.raises(PromptError, match=f"node {node_id} "):
        host.run(prompt)


def test_a_loop_is_named(host):
    prompt = {
        "1": node("InvertMask", mask=["2", 0]),
        "2": node("InvertMask", mask=["1", 0]),
        "3": node("MaskPreview", mask=["2", 0]),
    }
    verdict = host.validate(prompt)
    errors = [error for entry in verdict.node_errors.values() for error in entry["errors"]]
    assert {error["type"] for error in errors} == {"dependency_cycle"}
    assert "InvertMask" in errors[0]["details"]


def test_values_are_converted_as_the_host_does(host):
    prompt = solid(width="7", value="0.5")
    assert host.validate(prompt).error is None
    assert prompt["1"]["inputs"] == {"value": 0.5, "width": 7, "height": 4}


def test_one_faulty_output_stops_the_embedded_run_although_the_other_is_sound(host):
    prompt = {**solid(), "4": node("PreviewImage")}
    verdict = host.validate(prompt)
    assert verdict.outputs == ["3"]
    assert verdict.error is None
    with pytest.raises(PromptError, match=r"node 4 \(PreviewImage\): Required input is missing: images"):
        host.run(prompt)
