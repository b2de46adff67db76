"""The rig of demo and tests: processes, REST client, viewer, measurements.

Standard library only: `./dev demo` runs it with the system's Python.
"""
