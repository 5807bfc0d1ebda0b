"""Real kernels as guests, in a pretend internet of network namespaces."""
