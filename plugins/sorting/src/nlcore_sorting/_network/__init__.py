"""The parts of the sorting network: wiring, fast forms in torch, loss and Hessian."""
