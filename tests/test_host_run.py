"""How the embedded host executes: order, once per prompt, lists, what nodes may see and do."""

import pytest
import torch

from workflows.run import pack

io = pack("workflows.host_io")
services = pack("workflows.host_services")
Host = pack("workflows.host").Host
PromptError = pack("workflows.host").PromptError


def add(host, node_id, compute, inputs=(), outputs=(), **schema):
    host.nodes[node_id] = io.core_node(node_id, list(inputs), list(outputs), **schema)(compute)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def test_a_shared_node_runs_once_in_inference_mode_and_unknown_inputs_are_dropped(host):
    calls = []

    def source(**inputs):
        calls.append((inputs, torch.is_inference_mode_enabled()))
        return io.NodeOutput("text")

    add(host, "Source", source, [io.Int.Input("x", optional=True)], [io.String.Output()])
    prompt = {
        "1": node("Source", y=3),
        "2": node("PreviewAny", source=["1", 0]),
        "3": node("PreviewAny", source=["1", 0]),
    }
    history = host.run(prompt)
    assert calls == [({}, True)]
    assert history.executed == ["1", "2", "3"]
    assert history.outputs["3"] == {"text": ["text"]}


def test_a_list_output_maps_the_next_node_and_repeats_the_last_of_the_shorter(host):
    seen = []

    def numbers():
        return io.NodeOutput([1, 2, 3])

    def pair(a, b):
        seen.append((a, b))
        return io.NodeOutput(a + b)

    def whole(values):
        return io.NodeOutput(ui={"text": [f"{values}"]})

    add(host, "Numbers", numbers, outputs=[io.Int.Output(is_output_list=True)])
    add(host, "Pair", pair, [io.Int.Input("a"), io.Int.Input("b")], [io.Int.Output()])
    add(host, "Whole", whole, [io.Int.Input("values")], is_output_node=True, is_input_list=True)
    history = host.run(
        {"1": node("Numbers"), "2": node("Pair", a=["1", 0], b=10), "3": node("Whole", values=["2", 0])}
    )
    assert seen == [(1, 10), (2, 10), (3, 10)]
    assert history.outputs["3"]["text"] == ["[11, 12, 13]"]


def test_a_whole_list_and_its_widgets_arrive_as_lists_where_a_node_asks_for_them(host):
    seen = []

    def numbers():
        return io.NodeOutput([1, 2, 3])

    def gather(values, scale):
        seen.append((values, scale))
        return sum(values)

    def one(x):
        return io.NodeOutput(ui={"text": [f"{x}"]})

    add(host, "Numbers", numbers, outputs=[io.Int.Output(is_output_list=True)])
    two = [io.Int.Input("values"), io.Int.Input("scale")]
    add(host, "Gather", gather, two, [io.Int.Output()], is_input_list=True)
    add(host, "One", one, [io.Int.Input("x")], is_output_node=True)
    gathered = node("Gather", values=["1", 0], scale=5)
    history = host.run({"1": node("Numbers"), "2": gathered, "3": node("One", x=["2", 0])})
    assert seen == [([1, 2, 3], [5])]
    assert history.outputs["3"]["text"] == ["6"]  # one result, not one per item


def test_an_empty_list_is_named(host):
    add(host, "Nothing", lambda: io.NodeOutput([]), outputs=[io.Int.Output(is_output_list=True)])
    with pytest.raises(PromptError, match=r"node 2 \(PreviewAny\): an empty list arrives at 'source'"):
        host.run({"1": node("Nothing"), "2": node("PreviewAny", source=["1", 0])})


def special(node_id, execute, inputs=(), outputs=(), **schema):
    """A node that sees its own class."""
    made = io.core_node(node_id, list(inputs), list(outputs), **schema)(execute)
    made.execute = classmethod(execute)
    return {node_id: made}


def test_state_on_a_running_class_is_refused_and_the_error_names_the_node(host):
    def keep(cls):
        cls.kept = 1

    host.nodes |= special("Keeper", keep, is_output_node=True)
    with pytest.raises(PromptError, match=r"node 7 \(Keeper\): Cannot modify class attribute"):
        host.run({"7": node("Keeper")})


def test_an_output_node_sees_its_prompt_and_others_only_what_they_ask_for(host):
    seen = {}

    def inner(cls):
        seen["inner"] = (cls.hidden.unique_id, cls.hidden.prompt)
        return io.NodeOutput(1)

    def outer(cls, x):
        seen["outer"] = (cls.hidden.unique_id, sorted(cls.hidden.prompt), cls.hidden.extra_pnginfo)

    host.nodes |= special("Inner", inner, outputs=[io.Int.Output()], hidden=[io.Hidden.unique_id])
    host.nodes |= special("Outer", outer, [io.Int.Input("x")], is_output_node=True)
    host.run({"1": node("Inner"), "2": node("Outer", x=["1", 0])}, extra_pnginfo={"workflow": {}})
    assert seen == {"inner": ("1", None), "outer": (None, ["1", "2"], {"workflow": {}})}


def test_interrupt_stops_the_node_that_asks_and_only_that_run(host):
    stop = [True]

    def long():
        if stop:
            host.interrupt()
        services.model_management.throw_exception_if_processing_interrupted()
        return io.NodeOutput(ui={"text": ["done"]})

    add(host, "Long", long, is_output_node=True)
    with pytest.raises(PromptError, match=r"node 1 \(Long\) was interrupted"):
        host.run({"1": node("Long")})
    stop.clear()
    host.interrupt()  # nothing runs: nothing is stopped, as in ComfyUI
    assert host.run({"1": node("Long")}).outputs["1"]["text"] == ["done"]


def test_interrupt_stops_before_the_next_node_where_none_asks(host):
    add(host, "Quick", lambda: host.interrupt(), outputs=[io.Int.Output()])
    with pytest.raises(PromptError, match=r"node 2 \(PreviewAny\) was interrupted"):
        host.run({"1": node("Quick"), "2": node("PreviewAny", source=["1", 0])})


def test_progress_names_the_running_node(tmp_path):
    reports = []
    host = Host(tmp_path, on_progress=lambda *report: reports.append(report))

    def work():
        bar = services.ProgressBar(2)
        bar.update(1)
        bar.update(1)

    add(host, "Work", work, is_output_node=True)
    host.run({"5": node("Work")})
    assert reports == [("5", 1, 2), ("5", 2, 2)]


def test_two_hosts_keep_their_folders_apart(tmp_path):
    first, second = Host(tmp_path / "a"), Host(tmp_path / "b")
    with first.session(), second.session():
        assert services.folder_paths.get_input_directory() == str(tmp_path / "b" / "input")
    with pytest.raises(RuntimeError, match="no embedded host is running"):
        services.folder_paths.get_input_directory()


def test_equal_ids_in_a_schema_are_refused():
    with pytest.raises(ValueError, match=r"input ids must be unique, but \['x'\]"):
        io.Schema(node_id="Twice", inputs=[io.Int.Input("x"), io.Mask.Input("x")])
