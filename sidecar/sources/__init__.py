"""Finds and reads config files, environment and credentials, and watches them."""
