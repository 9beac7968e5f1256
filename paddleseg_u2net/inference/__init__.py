"""Which model --model_path means, prediction, and the files it writes."""
