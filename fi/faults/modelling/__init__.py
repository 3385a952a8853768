"""The fault models that come with the tool: of words, of neuron circuits, of lines."""
