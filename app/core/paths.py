"""Folders of the program's code. What a person has lies in their workspace, see app/core/workspace.py."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent  # app/, presets/, backends/ and tests/ lie here
