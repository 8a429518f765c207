"""Evidence over time with a stated mean time between false alarms: e-values and Shiryaev-Roberts sums. Pure.

A test repeated on every window at 5 % cries wolf every 20 windows. An e-value is evidence whose mean is at most 1 while
nothing happens; the sum over all possible moments of change of the products since then,

    R_t = (R_{t-1} + 1) e_t,

grows by at most 1 a window on average as long as nothing has happened, so it needs at least c windows on average to
reach c: a guarantee that holds whatever the dependence between streams (Shin, Ramdas, Rinaldo: "E-detectors", New
England Journal of Statistics in Data Science 2, 2024). Over d streams each gets the level c d: the mean of the sums is
then at least c where one of them alarms, and the mean is such a sum itself (e-Bonferroni).

Assumed: given the past, each window's p-value is valid. Windows therefore must not overlap.
"""

from __future__ import annotations

from typing import Final

#: Exponent of `p_to_e`: small ones favour strong shifts. 0.2 is within a window of the best for shifts of 0.2 sd to 1.
KAPPA: Final = 0.2
#: Where evidence stops to grow, in levels; a sum without bound would take for ever to forget.
CEILING: Final = 1e6
_LEAST_P: Final = 1e-300


def p_to_e(p: float, kappa: float = KAPPA) -> float:
    """Turn a p-value into an e-value by kappa p^(kappa - 1), 0 < kappa < 1: its mean over uniform p is 1.

    Vovk, Wang: "E-values: calibration, combination and applications", Annals of Statistics 49 (2021).
    """
    return float(kappa * max(p, _LEAST_P) ** (kappa - 1))


def shiryaev_roberts(evidence: float, e: float) -> float:
    """Add a window's e-value: E-SR, which has the guarantee above and is quicker than CUSUM at equal guarantee."""
    return (evidence + 1) * e


def alarm_level(expected_windows_between_false_alarms: float, streams: int) -> float:
    """Return the evidence at which one of `streams` streams alarms, so that all together keep the stated time."""
    return expected_windows_between_false_alarms * max(1, streams)


def largest_e(level: float, windows_to_alarm: int) -> float:
    """Return where one window's e-value is cut, so that fewer than `windows_to_alarm` windows cannot alarm from zero.

    A smaller e-value is still one: the guarantee stays. What it costs is delay; what it buys is that a single odd
    burst, such as one client's bulk request, is no drift.
    """
    return float(level ** (1 / windows_to_alarm))
