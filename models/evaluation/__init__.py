"""What a trained cell is worth: the evaluation and its parts, pictures, and predictions."""
