"""Typed commands: examples, text teachers, binary students, their lowering and measurement."""
