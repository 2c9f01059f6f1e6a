"""Random ONNX models whose float32 arithmetic is exact, and the engine that judges them."""
