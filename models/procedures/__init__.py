"""Procedures: how a stack is trained, step by step."""
