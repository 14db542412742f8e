"""A PyTorch module as an ONNX Runtime session: what the benches' peers share."""
import shutil, tempfile


def session(model, example, int8, threads, dynamic_shapes=None):
    """What runs `model` in ONNX Runtime, in f32 or with dynamically quantised int8 products, and the name of it.

    example: the input `ids` that the graph is made from, a tensor of whole numbers. Returns run(ids) -> numpy array of the
    module's outputs, and the name.
    """
    import onnxruntime as ort
    import torch

    folder = tempfile.mkdtemp()
    path = folder + "/model.onnx"
    torch.onnx.export(model, (example,), path, input_names=["ids"], dynamo=True, dynamic_shapes=dynamic_shapes)
    if int8:
        from onnxruntime.quantization import QuantType, quantize_dynamic
        quantize_dynamic(path, folder + "/int8.onnx", weight_type=QuantType.QInt8, use_external_data_format=True)
        path = folder + "/int8.onnx"
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    s = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    shutil.rmtree(folder)
    return lambda ids: s.run(None, {"ids": ids.numpy()})[0], "onnxruntime " + ort.__version__
