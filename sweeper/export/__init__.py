"""A store's rows for those who look elsewhere: TensorBoard, Weights & Biases, MLflow."""
