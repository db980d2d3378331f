"""Contracts: records, topics, the feature dictionary, the codec. No logic, no I/O."""

from schemas.dictionary import Boolean, Category, Dictionary, Feature, Integer, Number

__all__ = ["Boolean", "Category", "Dictionary", "Feature", "Integer", "Number"]
