"""A model -> ONNX, OpenVINO or Paddle files, verified against the model."""
