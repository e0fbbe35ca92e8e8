"""The checks of a prompt before anything runs."""

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
    ("prompt", "sentence"),
    [
        ({"1": {"inputs": {}}}, "node 1: 'None' is not known to the embedded host"),
        ({"1": node("NoSuchNode")}, "node 1: 'NoSuchNode' is not known .* --comfyui PATH runs it"),
        ({"1": {"class_type": ["x"]}}, "is not known"),
        ({"1": SOLID}, "no output node"),
    ],
)
def test_faults_of_a_whole_prompt(host, prompt, sentence):
    with pytest.raises(PromptError, match=sentence):
        host.run(prompt)


def shown(source):
    """A preview of node 1, whatever that is."""
    return {"1": source, "3": node("PreviewImage", images=["1", 0])}


CHANNEL = {
    **solid(),
    "4": node("ImageToMask", image=["2", 0], channel="x"),
    "3": node("MaskToImage", mask=["4", 0]),
    "5": node("PreviewImage", images=["3", 0]),
}
FAULTS = [
    ({"3": node("PreviewImage")}, "node 3 (PreviewImage): Required input is missing: images"),
    ({"3": node("PreviewImage", images=["1"])}, "node 3 (PreviewImage): images must be linked by the id"),
    ({"3": node("PreviewImage", images=[3, 0])}, "node 3 (PreviewImage): images must be linked by the id"),
    ({"3": node("PreviewImage", images=["3", True])}, "images must be linked by the id"),
    ({"3": node("PreviewImage", images=[["3"], 0])}, "images must be linked by the id"),
    ({"3": node("PreviewImage", images=["9", 0])}, "images is linked to node '9', which is absent"),
    ({**solid(), "3": node("PreviewImage", images=["2", 7])}, "linked to output 7 of node '2', which has 1"),
    ({**solid(), "3": node("PreviewImage", images=["2", -1])}, "linked to output -1 of node '2'"),
    (shown(SOLID), "node 3 (PreviewImage): images takes IMAGE, but output 0 of node '1' gives MASK"),
    (solid(width="wide"), "node 1 (SolidMask): width must be of the type INT, got 'wide'"),
    (solid(width={}), "node 1 (SolidMask): width must be of the type INT, got {}"),
    (solid(width=float("inf")), "width must be of the type INT, got inf"),
    (solid(width=0), "node 1 (SolidMask): Value 0 smaller than min of 1: width"),
    (solid(value=1.5), "node 1 (SolidMask): Value 1.5 bigger than max of 1.0: value"),
    (shown(node("LoadImage", image="x.png")), "node 1 (LoadImage): image - Invalid image file: x.png"),
    (shown(node("LoadImage", image="../x.png")), "image - Invalid image file"),
    (shown(node("LoadImage", image={"a": 1})), "image must be a text, got {'a': 1}"),
    ({"1": node("Picky", a=3, b=1)}, "node 1 (Picky): a - must be even"),
    ({"1": node("Picky", a=8, b=8)}, "node 1 (Picky): Value 8 bigger than max of 5: b"),
    ({"1": node("Picky", a=2, b=-1)}, "node 1 (Picky): Value -1 smaller than min of 0: b"),
    (CHANNEL, "node 4 (ImageToMask): Value not in list: channel: 'x' not in ['red'"),
    ({**solid(), "4": node("PreviewImage")}, "node 4 (PreviewImage): Required input is missing: images"),
]


@pytest.mark.parametrize(("prompt", "sentence"), FAULTS)
def test_a_fault_is_one_sentence_that_names_node_and_input(host, prompt, sentence):
    with pytest.raises(PromptError) as caught:
        host.run(prompt)
    assert sentence in str(caught.value)
    assert str(caught.value).count("node ") <= 2  # nodes below a faulty one are not named


def test_a_node_that_no_output_needs_is_not_checked(host):
    assert host.run({**solid(), "9": node("InvertMask")}).executed == ["1", "2", "3"]


def test_a_loop_is_named(host):
    prompt = {
        "1": node("InvertMask", mask=["2", 0]),
        "2": node("InvertMask", mask=["1", 0]),
        "3": node("MaskToImage", mask=["2", 0]),
        "4": node("PreviewImage", images=["3", 0]),
    }
    with pytest.raises(PromptError, match=r"loop: 2 \(InvertMask\) -> 1 \(InvertMask\) -> 2 \(InvertMask\)"):
        host.run(prompt)


def test_a_chain_may_be_longer_than_the_stack(host):
    count = 3000
    chain = {str(n): node("InvertMask", mask=[str(n - 1), 0]) for n in range(1, count)}
    end = {"x": node("MaskToImage", mask=[str(count - 1), 0]), "y": node("PreviewImage", images=["x", 0])}
    order = host.run({**end, **chain, "0": SOLID}).executed
    assert order == [*map(str, range(count)), "x", "y"]


def test_values_are_converted_as_comfyui_does(host):
    prompt = solid(width="7", value="0.5")
    assert host.check(prompt) == ["1", "2", "3"]
    assert prompt["1"]["inputs"] == {"value": 0.5, "width": 7, "height": 4}
