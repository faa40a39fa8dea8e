"""Versions that records carry. In a module of their own, for schema.py loads pydantic, which takes 0.1 s.

History of the schema:
1  first version.
2  meters: CPU seconds and joules, the GPU's use and facts, others' load, precision flags, thread settings. A record of version 1
   is still read; what it lacks is None. Chains (previous_sha256) and restricted memory (old_share).
3  in the summary, what the selection and the regularizer took of the whole: selection_seconds, regularizer_flops.
"""

from __future__ import annotations

SCHEMA_VERSION = 3
READABLE_VERSIONS = (1, 2, 3)
RULES_VERSION = 1
