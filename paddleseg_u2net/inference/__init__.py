"""What --model_path means, prediction, and the files that are written."""
