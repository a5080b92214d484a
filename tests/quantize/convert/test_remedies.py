"""What to try when accuracy was lost."""

from quantize.convert.remedies import BIAS_CORRECTION, EQUALIZATION, Calibration, try_remedies
from tests.quantize.convert.conftest import PREPROCESSING


def test_remedies_bring_back_what_bad_scales_lost(badly_scaled, int8_and_float, calibration, count_right):
    """One at a time, told beforehand; evening out the channels brings the most."""
    given = Calibration(calibration, PREPROCESSING, "uint8")
    told = []
    tried = try_remedies(badly_scaled, int8_and_float[0], given, where="model.keras", advance=told.append)
    assert told == []
    found = {remedy.names: count_right(remedy.content) for remedy in tried}
    assert list(found) == [(BIAS_CORRECTION,), (EQUALIZATION,), (EQUALIZATION, BIAS_CORRECTION)]
    assert len(told) == 3
    ordinary = count_right(int8_and_float[0])
    assert found[(BIAS_CORRECTION,)] != ordinary
    assert min(found[(EQUALIZATION,)], found[(EQUALIZATION, BIAS_CORRECTION)]) > ordinary + 0.1
