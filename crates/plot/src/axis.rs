//! An axis: how a value becomes a place on it, which values are marked, and how they are written.
//!
//! Invariant: [`Scale::place`] grows with its value, and [`Scale::ticks`] are inside the range they were made for.

use std::ops::Range;

/// Places that a linear axis is to have, about.
const TICKS_LINEAR: f64 = 6.0;
/// A logarithmic axis that spans fewer decades than this has marks at 2 and 5 too.
const DECADES_WIDE: f64 = 3.0;
/// Percentiles are shown up to so many nines.
const NINES_MAX: f64 = 7.0;
/// What rounding may add to a place or take off it.
const SLACK: f64 = 1e-9;

/// What is along one side of a chart.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What the numbers are, with their unit: `"latency in us"`.
    pub label: String,
    /// How they are laid out.
    pub scale: Scale,
}

/// How values are laid out along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from zero.
    Linear,
    /// By their logarithm. Only values above zero have a place.
    Log,
    /// Quantiles from 0 to below 1, by how near to 1 they are: 0.9, 0.99 and 0.999 are equally far apart.
    Percentile,
}

impl Axis {
    /// An axis.
    pub fn new(label: impl Into<String>, scale: Scale) -> Self {
        Self { label: label.into(), scale }
    }
}

impl Scale {
    /// Where `value` is; `None` when it cannot be shown.
    pub(crate) fn place(self, value: f64) -> Option<f64> {
        let place = match self {
            Self::Linear => value,
            Self::Log if value > 0.0 => value.log10(),
            Self::Percentile if (0.0..1.0).contains(&value) => (-(1.0 - value).log10()).min(NINES_MAX),
            Self::Log | Self::Percentile => return None,
        };
        place.is_finite().then_some(place)
    }

    /// The range that has room for all these places.
    pub(crate) fn range(self, places: impl Iterator<Item = f64>) -> Range<f64> {
        let (low, high) = places
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| (low.min(place), high.max(place)));
        match self {
            _ if low > high => 0.0..1.0,
            Self::Linear => {
                let (low, high) = (low.min(0.0), high.max(0.0));
                // A little air above the highest value, or a whole unit when all are zero.
                if low < high { low * 1.05..high * 1.05 } else { 0.0..1.0 }
            }
            // The next mark of 1, 2 or 5 on either side, or the decade when that says nothing.
            Self::Log => {
                let range = mark_below(low)..mark_below(high) + 1.0;
                let upper = log_marks(&range).find(|&mark| mark >= high).unwrap_or(range.end);
                if range.start < upper { range.start..upper } else { range.start..range.start + 1.0 }
            }
            Self::Percentile => 0.0..high.max(1.0),
        }
    }

    /// Places that are marked in `range`.
    pub(crate) fn ticks(self, range: &Range<f64>) -> Vec<f64> {
        let inside = |place: &f64| *place >= range.start - SLACK && *place <= range.end + SLACK;
        match self {
            Self::Linear => {
                let step = step(range.end - range.start);
                let first = (range.start / step).ceil() as i64;
                (first..).map(|index| index as f64 * step).take_while(inside).collect()
            }
            Self::Log if range.end - range.start < DECADES_WIDE => log_marks(range).filter(inside).collect(),
            Self::Log => {
                (range.start.ceil() as i32..=(range.end + SLACK).floor() as i32).map(f64::from).collect()
            }
            Self::Percentile => {
                let nines = (1..=(range.end + SLACK).floor() as i32).map(f64::from);
                [0.0, 0.5_f64.log10().abs()].into_iter().chain(nines).filter(inside).collect()
            }
        }
    }

    /// What is written at `place`.
    pub(crate) fn text(self, place: f64) -> String {
        match self {
            Self::Linear => short(place),
            Self::Log => short(10_f64.powf(place)),
            Self::Percentile => {
                let percent = 100.0 * (1.0 - 10_f64.powf(-place));
                let digits = (place.round() as usize).saturating_sub(2);
                format!("{percent:.digits$}")
            }
        }
    }
}

/// A number with at most three digits that count, and `k`, `M`, `G` for thousands.
pub(crate) fn short(value: f64) -> String {
    let (scaled, unit) = [(1e9, "G"), (1e6, "M"), (1e3, "k")]
        .into_iter()
        .find(|(size, _)| value.abs() >= size * 0.9995)
        .map_or((value, ""), |(size, unit)| (value / size, unit));
    let magnitude = if scaled == 0.0 { 0 } else { scaled.abs().log10().floor() as i32 };
    let digits = usize::try_from(2 - magnitude).unwrap_or(0);
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// 1, 2 or 5 times a power of ten, so that a length has about [`TICKS_LINEAR`] of it.
fn step(length: f64) -> f64 {
    let exact = (length / TICKS_LINEAR).max(f64::MIN_POSITIVE);
    let decade = 10_f64.powf(exact.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|part| part * decade)
        .find(|&step| step >= exact * 0.8)
        .unwrap_or(exact)
}

/// Logarithms of 1, 2 and 5 times the powers of ten, from the decade that holds the start of `range` to the end of the one
/// that holds its end.
fn log_marks(range: &Range<f64>) -> impl Iterator<Item = f64> + use<> {
    let decades = range.start.floor() as i32..=range.end.ceil() as i32;
    decades.flat_map(|decade| [1.0_f64, 2.0, 5.0].map(|part| f64::from(decade) + part.log10()))
}

fn mark_below(place: f64) -> f64 {
    let decade = place.floor();
    [5.0_f64, 2.0].into_iter().map(|part| decade + part.log10()).find(|&mark| mark <= place).unwrap_or(decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks() {
        // Scale, values, what is written along the axis.
        let cases: [(Scale, &[f64], &str); 9] = [
            (Scale::Linear, &[0.0, 10.0], "0 2 4 6 8 10"),
            (Scale::Linear, &[3.0, 1_234_567.0], "0 200k 400k 600k 800k 1M 1.2M"),
            (Scale::Linear, &[], "0 0.2 0.4 0.6 0.8 1"),
            (Scale::Linear, &[0.0], "0 0.2 0.4 0.6 0.8 1"),
            (Scale::Log, &[3.0, 70.0], "2 5 10 20 50 100"),
            (Scale::Log, &[0.01, 12_000.0], "0.01 0.1 1 10 100 1k 10k"),
            (Scale::Log, &[10.0], "10 20 50 100"),
            (Scale::Percentile, &[0.0, 0.9999], "0 50 90 99 99.9 99.99"),
            (Scale::Percentile, &[0.5], "0 50 90"),
        ];
        for (scale, values, text) in cases {
            let range = scale.range(values.iter().filter_map(|&value| scale.place(value)));
            let marks: Vec<_> = scale.ticks(&range).into_iter().map(|place| scale.text(place)).collect();
            assert_eq!(marks.join(" "), text, "{scale:?} {values:?}");
        }
    }

    #[test]
    fn what_has_no_place() {
        let cases = [
            (Scale::Linear, f64::NAN),
            (Scale::Linear, f64::INFINITY),
            (Scale::Log, 0.0),
            (Scale::Log, -1.0),
            (Scale::Percentile, 1.0),
            (Scale::Percentile, -0.1),
        ];
        for (scale, value) in cases {
            assert_eq!(scale.place(value), None, "{scale:?} {value}");
        }
    }

    #[test]
    fn short_numbers() {
        let cases = [
            (0.0, "0"),
            (0.0386, "0.0386"),
            (0.5, "0.5"),
            (1.0, "1"),
            (12.34, "12.3"),
            (100.0, "100"),
            (999.9, "1k"),
            (1_500.0, "1.5k"),
            (13_020_000.0, "13M"),
            (2e9, "2G"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }
}
