from __future__ import annotations

from serving.server.observability.histogram import Histogram, exponential, labels


def test_exponential_bounds_grow_by_the_factor() -> None:
    assert exponential(10, 2, 4) == (10, 20, 40, 80)


def test_histogram_counts_each_value_in_its_bucket_and_all_larger_ones() -> None:
    histogram = Histogram(":latency", (1, 10), ("model",))
    for value in (0.5, 1, 5, 100):
        histogram.add(value, "m")
    assert histogram.lines() == [
        "# TYPE :latency histogram",
        ':latency_bucket{model="m",le="1"} 2',
        ':latency_bucket{model="m",le="10"} 3',
        ':latency_bucket{model="m",le="+Inf"} 4',
        ':latency_sum{model="m"} 106.5',
        ':latency_count{model="m"} 4',
    ]


def test_label_values_are_escaped() -> None:
    assert labels(("a", 'x"\\\n'), ("b", "y")) == '{a="x\\"\\\\\\n",b="y"}'
