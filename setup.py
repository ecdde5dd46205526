"""Builds the C core of device/native for the host, and the loops of bnn/fused.h (everything else is in pyproject.toml)."""

from setuptools import setup

setup(cffi_modules=["export/build_native.py:ffibuilder", "bnn/build_fused.py:ffibuilder"])
