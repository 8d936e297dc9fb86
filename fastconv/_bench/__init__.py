"""Benchmarks of fastconv against torch: ``python -m fastconv bench``.

What to time (``networks/``, ``layers``, ``catalogue``, ``shape_files``) goes through ``compare`` or
``regret``, which check before they time, into ``results``; tables, pictures and the changes between
two runs are made of those. ``import fastconv`` loads none of it.
"""
