"""How fast the desk is, each figure beside the bare thing it stands on, measured in one run.

``python -m bench NAME`` prints a figure's table and, with ``--write``, puts it into ``docs/performance.md``.
"""
