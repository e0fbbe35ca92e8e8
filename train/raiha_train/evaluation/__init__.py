"""What a network, or another method's outputs, score over a data set."""
