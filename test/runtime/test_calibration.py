"""Int8 and fp16 forms of an exported network, run by ONNX Runtime on the CPU against the network itself."""

import numpy as np
import pytest
import torch

from img2three_ros.runtime.calibration import calibrated, int8_path, quantise
from img2three_ros.runtime.engine_precision import half_precision
from img2three_ros.runtime.exported import ExportedNetwork, TensorSpec
from img2three_ros.structures import InputError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
SHAPE = (2, 3, 8, 8)


@pytest.fixture
def exported(tmp_path):
    """Four convolutions (first, middle, grouped, last) and ReLU; then resized to twice its size and divided by its
    length over channels (a square of itself)."""
    random = np.random.default_rng(0)
    weights = {"w": random.normal(size=(4, 3, 3, 3)), "b": random.normal(size=4), "v": random.normal(size=(4, 4, 1, 1)),
               "g": random.normal(size=(4, 1, 3, 3)), "l": random.normal(size=(4, 4, 1, 1)), "tiny": np.array(1e-6),
               "scales": np.array([1.0, 1.0, 2.0, 2.0]), "huge": np.array(1e5)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c1"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]), helper.make_node("Conv", ["r1", "v"], ["c2"], "middle"),
        helper.make_node("Conv", ["c2", "g"], ["c3"], "grouped", group=4, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c3", "l"], ["c4"], "last"), helper.make_node("Relu", ["c4"], ["r"]),
        helper.make_node("Resize", ["r", "", "scales"], ["big"], mode="nearest"),
        helper.make_node("Mul", ["big", "big"], ["square"]), helper.make_node("ReduceSum", ["square", "axes"], ["sum"]),
        helper.make_node("Add", ["sum", "tiny"], ["positive"]), helper.make_node("Sqrt", ["positive"], ["length"]),
        helper.make_node("Div", ["big", "length"], ["unit"]), helper.make_node("Mul", ["r", "huge"], ["large"]),
    ]
    shapes = {"unit": (2, 4, 16, 16), "large": (2, 4, 8, 8)}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [*(numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()),
         numpy_helper.from_array(np.array([1]), "axes")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    network = ExportedNetwork(tmp_path / "net-abc.onnx", "net", (TensorSpec("x", SHAPE),),
                              tuple(TensorSpec(name, shape) for name, shape in shapes.items()), "00", "any", 18)
    helper.set_model_props(model, network.metadata())
    onnx.save(model, network.path)
    return network


def batches(count):
    return [(torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)),) for seed in range(count)]


def outputs(content, image):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": image.numpy()})


def cosine(a, b):
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def test_half_precision_computes_convolutions_in_fp16_and_lengths_in_fp32(exported):
    content = half_precision(exported.path)
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    made = {node.op_type: types.get(node.output[0], onnx.TensorProto.FLOAT) for node in model.graph.node}
    half = {name for name, kind in made.items() if kind == onnx.TensorProto.FLOAT16}
    assert {"Conv", "Relu", "Resize"} <= half
    assert not half & {"ReduceSum", "Sqrt", "Div"}
    for found, right in zip(outputs(content, batches(1)[0][0]), outputs(str(exported.path), batches(1)[0][0]),
                            strict=True):
        assert found.dtype == np.float32 and np.isfinite(found).all()  # 1e5 does not fit in fp16 and stays fp32
        assert cosine(found, right) > 0.99999 and 0.0 < np.abs(found - right).max() < 2e-3 * np.abs(right).max()


def test_int8_stays_close_and_names_its_source(exported):
    said = []
    made = quantise(exported, batches(4), said.append)
    assert len(said) == 4 and "8 images" in said[-1]
    for found, right in zip(outputs(str(made.path), batches(1)[0][0]), outputs(str(exported.path), batches(1)[0][0]),
                            strict=True):
        assert cosine(found, right) > 0.99 and np.abs(found - right).max() > 0.0
    assert calibrated(exported) == made and made.path == int8_path(exported)


def test_first_last_and_grouped_layers_stay_as_they_are(exported):
    nodes = onnx.load(quantise(exported, batches(2), print).path).graph.node
    made_by = {name: node.op_type for node in nodes for name in node.output}
    quantised = {node.name for node in nodes if node.op_type == "Conv"
                 and [made_by.get(name) for name in node.input[:2]] == ["DequantizeLinear"] * 2}
    assert quantised == {"middle"} and sum(node.op_type == "Conv" for node in nodes) == 4


def test_zero_points_are_zero_and_weights_have_a_scale_per_channel(exported):
    """TensorRT takes nothing else."""
    model = onnx.load(quantise(exported, batches(2), print).path)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(not constants[node.input[2]].any() and constants[node.input[2]].dtype == np.int8 for node in pairs)
    assert (4,) in {constants[node.input[1]].shape for node in pairs}


def test_without_calibration_or_with_that_of_another_network_it_says_how_to_get_it(exported):
    with pytest.raises(InputError, match=r"has no int8 form yet.*engines build --precision int8 --bag"):
        calibrated(exported)
    quantise(exported, batches(1), print)
    exported.path.write_bytes(exported.path.read_bytes() + b"\x00")
    with pytest.raises(InputError, match="another version"):
        calibrated(exported)
    int8_path(exported).write_bytes(b"nonsense")
    with pytest.raises(InputError, match="damaged"):
        calibrated(exported)


def test_calibration_needs_images_that_fit(exported):
    with pytest.raises(InputError, match="no images to calibrate"):
        quantise(exported, [], print)
    with pytest.raises(InputError, match="takes x"):
        quantise(exported, [(torch.zeros(1, 3, 8, 8),)], print)
    assert not int8_path(exported).exists()
