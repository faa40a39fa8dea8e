"""How large a scenario is, from published image counts: for listings that read no data."""

from __future__ import annotations

from bench.data.sources.known import SETS
from bench.scenario import Scenario

# Set -> domain, or "" for a set without domains -> training images; for sets without a test part, all images.
_PUBLISHED: dict[str, dict[str, int]] = {
    "adaptiope": {"product_images": 12_300, "real_life": 12_300, "synthetic": 12_300},
    "cifar10": {"": 50_000},
    "cifar100": {"": 50_000},
    "digits": {"": 1_352},  # of 1,797; a quarter of every class is the test part
    "fashion-mnist": {"": 60_000},
    "glyphs": {"": 2 * 47 * 80},  # 80 of each class of each family of fonts, without those for testing
    "glyphs-sans": {"": 47 * 80},
    "glyphs-sans-serif": {"glyphs-sans": 47 * 80, "glyphs-serif": 47 * 80},
    "glyphs-serif": {"": 47 * 80},
    "imagenet": {"": 1_281_167},
    "mnist": {"": 60_000},
    "mnist-usps": {"mnist": 60_000, "usps": 7_291},
    "pacs": {"photo": 1_670, "art_painting": 2_048, "cartoon": 2_344, "sketch": 3_929},
    "tiny-imagenet": {"": 100_000},
    "usps": {"": 7_291},
}


def expected_size(scenario: Scenario) -> tuple[int | None, int | None]:
    """Return (approximate training images of all stages, classes); None for what only the data themselves can tell."""
    data, stages = scenario.data, scenario.stages
    if data.set is None or data.set not in SETS:
        return None, None
    every = SETS[data.set].classes
    if scenario.kind == "class-incremental":
        classes = sum(stage.classes or 0 for stage in stages)
    else:
        classes = len(data.classes) if data.classes else every
    counts = _PUBLISHED.get(data.set, {})
    domains = [stage.domain for stage in stages if stage.domain is not None] or list(counts)
    if not counts or any(domain not in counts for domain in domains):
        return None, classes
    images = sum(counts[domain] for domain in domains) * classes / every
    images *= (1 - (data.test_share or 0)) * (1 - (data.validation_share or 0))
    if scenario.kind == "data-incremental":
        images *= sum(stage.share or 0 for stage in stages)
    return round(images), classes
