"""A daemon beside your app that makes LLM calls reliable; the names below are its Python API."""

__version__ = "0.1.0"
