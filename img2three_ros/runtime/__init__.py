"""Where networks run: one seam over torch, ONNX Runtime and TensorRT, each believed only after its self-test."""
