"""The virtual device: its disk, its machine, its console, and what stands on the host for it.

Everything up to `device` and `driver` is the standard library alone: `./dev vm` runs with the system's Python.
"""
