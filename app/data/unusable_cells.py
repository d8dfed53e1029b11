"""Reasons for which a row cannot be used as it is, and is left out only where the person allows it."""

from __future__ import annotations


class UnusableCell(Exception):
    """A field of a row that cannot be brought into the form that chat formats take. The text names the field."""


class RefusalReason(str):
    """Why a row cannot be used as it is. Unlike other reasons, such a row is left out only where the person says so."""

    __slots__ = ()
