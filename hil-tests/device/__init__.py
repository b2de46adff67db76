"""Tests of the device image: one set, on the virtual device and on a board (../virtual.yaml, ../rock-5b-plus.yaml)."""
