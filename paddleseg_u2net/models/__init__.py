"""The U²-Net architecture, its weights and checkpoints."""
