"""From photos on disk to the micro-batches that a network is trained on."""
