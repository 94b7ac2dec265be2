//! Charts of a run: how its latencies are spread, and what happened when.
//!
//! Invariant: a curve has a point for everything that was measured and none for what was not; nothing is filled in.

use hdrhistogram::Histogram;
use warrenmq_plot::{Axis, Panel, Scale, Series};

use super::{
    common::CommonArgs,
    error::PerfError,
    report::{Interval, Latency, Report},
};

/// Points of a percentile curve for each halving of the distance to 100 %.
const TICKS_PER_HALF: u32 = 8;

/// Writes the chart of a run, if one was asked for; `title` says what was run.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(
    args: &CommonArgs,
    title: &str,
    panels: impl FnOnce() -> Vec<Panel>,
) -> Result<(), PerfError> {
    if let Some(path) = &args.plot {
        warrenmq_plot::curves(path, &format!("{title}, {}", args.broker()), &panels())?;
    }
    Ok(())
}

/// The chart of a run of `throughput` or `latency`.
pub(crate) fn panels(report: &Report) -> Vec<Panel> {
    let distributions: Vec<_> = report.distributions.iter().map(|(name, all)| (*name, all)).collect();
    let flows = [
        ("published", over_time(report, |interval| Some(interval.published))),
        ("consumed", over_time(report, |interval| Some(interval.consumed))),
        ("confirmed", over_time(report, |interval| interval.confirmed)),
    ];
    let consumer = |value: fn(&Latency) -> f64| {
        over_time(report, move |interval| interval.consumer_latency_us.as_ref().map(value))
    };
    let confirm = |value: fn(&Latency) -> f64| {
        over_time(report, move |interval| interval.confirm_latency_us.as_ref().map(value))
    };
    let latencies = [
        ("consumer 50 %", consumer(|latency| latency.p50)),
        ("consumer 99 %", consumer(|latency| latency.p99)),
        ("confirm 50 %", confirm(|latency| latency.p50)),
        ("confirm 99 %", confirm(|latency| latency.p99)),
    ];
    vec![
        by_percentile("latency", &distributions),
        by_time("rate", Axis::new("messages a second", Scale::Linear), flows),
        by_time("latency over time", Axis::new("us", Scale::Log), latencies),
    ]
}

/// Latencies, recorded in nanoseconds, by percentile.
pub(crate) fn by_percentile(title: &str, distributions: &[(&str, &Histogram<u64>)]) -> Panel {
    let series = distributions.iter().filter(|(_, all)| !all.is_empty()).map(|(name, all)| {
        let points = all.iter_quantiles(TICKS_PER_HALF).map(|step| {
            // Below a microsecond there is nothing to see, and the axis would be spent on it.
            let micros = (step.value_iterated_to().min(all.max()) as f64 / 1e3).max(1.0);
            // The largest is at 100 %, which has no place: it is shown where its one sample begins.
            (step.quantile_iterated_to().min(1.0 - 1.0 / (all.len() + 1) as f64), micros)
        });
        Series { name: (*name).into(), points: points.collect() }
    });
    Panel {
        title: title.into(),
        x: Axis::new("percentile", Scale::Percentile),
        y: Axis::new("us", Scale::Log),
        series: series.collect(),
    }
}

/// Curves over the seconds of a run; those without a point are left out.
pub(crate) fn by_time(
    title: &str,
    y: Axis,
    curves: impl IntoIterator<Item = (impl Into<String>, Vec<(f64, f64)>)>,
) -> Panel {
    let curves = curves.into_iter().filter(|(_, points)| !points.is_empty());
    let series = curves.map(|(name, points)| Series { name: name.into(), points }).collect();
    Panel { title: title.into(), x: Axis::new("seconds", Scale::Linear), y, series }
}

fn over_time(report: &Report, value: impl Fn(&Interval) -> Option<f64>) -> Vec<(f64, f64)> {
    report.intervals.iter().filter_map(|interval| Some((interval.time_s, value(interval)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perf::tally::histogram;

    #[test]
    fn percentiles_rise_and_end_at_the_largest() {
        let mut all = histogram();
        for micros in 1..=10_000_u64 {
            all.saturating_record(micros * 1_000);
        }
        let panel = by_percentile("latency", &[("consumer", &all), ("confirm", &histogram())]);
        let [Series { points, .. }] = panel.series.as_slice() else {
            panic!("what has no samples has no curve: {panel:?}");
        };
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{points:?}");
        let &(quantile, micros) = points.last().unwrap();
        assert!(quantile < 1.0 && (micros / 10_000.0 - 1.0).abs() < 0.01, "{quantile} {micros}");
        let median = points.iter().find(|(quantile, _)| *quantile >= 0.5).unwrap().1;
        assert!((median / 5_000.0 - 1.0).abs() < 0.02, "{median}");
    }

    #[test]
    fn nothing_is_shown_of_what_was_not_measured() {
        let intervals = vec![Interval { time_s: 1.0, published: 10.0, ..Interval::default() }];
        let panels = panels(&Report { intervals, ..Report::default() });
        let names = |panel: &Panel| panel.series.iter().map(|series| series.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            panels.iter().map(names).collect::<Vec<_>>(),
            [vec![], vec!["published", "consumed"], vec![]]
        );
    }
}
