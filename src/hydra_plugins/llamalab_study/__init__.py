"""A package, not a namespace: Hydra looks for plugins only in packages."""
