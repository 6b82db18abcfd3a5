"""The task: devices, scenarios, the differentiable core and its adapters."""
