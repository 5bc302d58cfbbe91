"""The doors: listeners, the guard, the data plane, the admin plane."""
