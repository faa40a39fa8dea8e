from __future__ import annotations

import pytest
from scipy import stats

from bench.analysis.speedup.student import t_quantile


@pytest.mark.parametrize("degrees", [*range(1, 32), 100])
def test_the_quantile_is_scipys(degrees: int):
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-14)


def test_the_quantile_is_the_printed_one():
    """Student's table: 12.706, 4.303, 3.182, 2.776 at one to four degrees."""
    assert [round(t_quantile(degrees), 3) for degrees in (1, 2, 3, 4)] == [12.706, 4.303, 3.182, 2.776]
