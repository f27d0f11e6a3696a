"""Check the rules of the house that a program can check: `make check` runs it.

They are: no circle of imports, type-level imports included; docstrings begin with a verb or name the thing; a
class name is defined once; files and functions are short.
"""
