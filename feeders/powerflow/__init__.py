"""Batched, differentiable three-phase power flow in torch."""
