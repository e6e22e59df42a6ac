"""How panels of the dashboard are drawn in the docs' picture: numbers, areas on top of each other, buckets."""

import re

import pytest

from benchmarks.dashboard.panels import NO_DATA, Series, draw, number

BOX, SPAN = (300.0, 150.0), (0.0, 100.0)
MAPPINGS = [{"options": {"0": {"text": "off", "color": "red"}, "1": {"text": "on", "color": "green"}}}]


def panel(kind: str, unit: str = "short", **defaults) -> dict:
    steps = [{"color": "green", "value": None}, {"color": "red", "value": 1}]
    field_defaults = {"unit": unit, "custom": {}, "mappings": [], "thresholds": {"steps": steps}} | defaults
    return {"type": kind, "fieldConfig": {"defaults": field_defaults}, "options": {"yAxis": {"unit": "µs"}}}


def series(*values: float, name: str = "one", **labels: str) -> Series:
    return Series(name, [(10.0 * place, value) for place, value in enumerate(values)], labels)


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.0123, "percentunit", "1.2 %"),
        (850, "µs", "850 µs"),
        (12_340, "µs", "12.3 ms"),
        (2_500_000, "µs", "2.5 s"),
        (1500, "short", "1.5 K"),
        (0, "none", "0"),
        (3, "reqps", "3 req/s"),
    ],
)
def test_a_number_is_written_in_its_unit(value, unit, words):
    assert number(value, unit) == words


def test_an_unknown_unit_is_an_error():
    with pytest.raises(ValueError, match="furlong"):
        number(1.0, "furlong")


def test_a_stat_has_the_colour_of_its_threshold_and_its_mapped_word():
    drawn = [draw(panel("stat", mappings=MAPPINGS), [series(1.0 - last, last)], BOX, SPAN) for last in (0.0, 1.0)]
    assert ">off<" in drawn[0] and ">on<" in drawn[1]
    assert re.search('fill="(.*?)"', drawn[0])[1] != re.search('fill="(.*?)"', drawn[1])[1]


def test_areas_lie_on_top_of_each_other():
    stacked = panel("timeseries", custom={"stacking": {"mode": "normal"}}, min=0, max=1)
    svg = draw(stacked, [series(0.25, 0.25), series(0.5, 0.5, name="two")], BOX, SPAN)
    first, second = re.findall(r'class="mark" d="M[\d.]+,([\d.]+)', svg)
    bottom = 150 - 15 - 16  # of the axis: below it are a line of the legend and the times
    assert (bottom - float(second)) / (bottom - float(first)) == pytest.approx(3, rel=0.01)


def test_a_bucket_of_a_heatmap_does_not_count_those_below_it():
    buckets = [series(4.0, le="10", name="10"), series(5.0, le="100", name="100"), series(5.0, le="+Inf", name="+Inf")]
    svg = draw(panel("heatmap"), buckets, BOX, SPAN)
    assert re.findall(r'fill-opacity="([\d.]+)"', svg) == ["0.25", "1.00"]  # the higher bucket comes first


def test_a_state_lasts_until_the_next():
    svg = draw(panel("state-timeline", mappings=MAPPINGS), [series(1.0, 1.0, 0.0)], BOX, (0.0, 40.0))
    widths = [float(width) for width in re.findall(r'height="[\d.]+" width="([\d.]+)"', svg)]
    assert widths == pytest.approx([widths[0]] * 2 + [2 * widths[0]], abs=0.2)


def test_without_series_it_says_so():
    assert NO_DATA in draw(panel("timeseries"), [], BOX, SPAN)
