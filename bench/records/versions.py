"""Versions that records carry. In a module of their own, because schema.py loads pydantic, which takes 0.1 s.

History of the schema:
1  first version.
2  meters: CPU seconds and joules, GPU use and facts, load from other processes, precision flags, thread settings. Records of
   version 1 can still be read; what they lack is None. Chains (previous_sha256) and restricted memory (old_share).
3  in the summary, the selection's and the regularizer's parts of the totals: selection_seconds, regularizer_flops.
4  freezing and fitted heads: phases; in the summary feature_flops, head_flops, feature_bytes. In the provenance, how many trials
   ran side by side: jobs; in older records, 1.
5  in the provenance, how steps reach the device: step; in older records, eager. Reading the meters is part of io_seconds,
   and cpus are no more than the container's quota.
 6  trials that diverged: status "diverged", and diverged, which says where. What guessing reaches: chance, with the number of
    validation images. Of a given old model, how it was read, its normalization, and its accuracy on the old classes.
 7  a digest of the evaluations: evals_sha256, of every trial that finished or diverged. Trials that a signal ended: status
    "interrupted". Of a given old model, whether it may have seen held-out images: may_have_seen. In the provenance, why a commit
    is unknown: commit_reason; what cannot run here and was left out of the step: step_reason; of a CPU that trains in bf16,
    bf16_units. In a strategy with code of its own, the modules that it imports (modules) and the versions of installed packages
    (packages); of one that says so, what tuning it cost (tuning). In the summary, how joules were measured: gpu_power.
 8  a digest of the record itself: record_sha256.
 9  in the summary, with whom the trial shared its device or a busy machine (shared), and the most memory that it took
    (peak_memory_bytes). In the provenance, in which drawn order a slot's strategies ran: interleaved.
"""

from __future__ import annotations

SCHEMA_VERSION = 9
DIGESTS_FROM = 7  # the first schema whose finished trials have a digest of their evaluations
SEALED_FROM = 8  # the first schema whose records have a digest of themselves
READABLE_VERSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 9)
RULES_VERSION = 1
