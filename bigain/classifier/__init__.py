"""The diffusion classifier (Algorithm 1), and the engine that runs its noise predictions."""
