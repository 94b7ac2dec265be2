//! Curves: one file with one panel below the other, each with its own axes and series.
//!
//! Invariant: a panel without any point that can be shown is drawn with empty axes, so that a file always has the panels that
//! its caller named.

use std::{ops::Range, path::Path};

use plotters::{
    backend::SVGBackend,
    chart::ChartBuilder,
    coord::{
        Shift,
        ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter},
    },
    drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea},
    element::{Circle, PathElement, Rectangle, Text},
    style::{Color, IntoFont, WHITE},
};

use crate::{
    PlotError,
    axis::{Axis, Scale},
    style::{FONT, GRID, INK, PANEL_SIZE, TEXT_SIZE, TITLE_HEIGHT, TITLE_SIZE, WIDTH, colour, stroke, width},
};

/// Height of one panel in pixels.
const PANEL_HEIGHT: u32 = 300;
/// Free pixels around a panel.
const MARGIN: i32 = 10;
/// Height of the row with the title of a panel.
const HEAD_HEIGHT: i32 = 28;
/// Width of the numbers and the label at the left.
const LABEL_WIDTH: i32 = 72;
/// A series of few points has a dot at each, or a single one would not be seen.
const DOTS_MAX: usize = 60;

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// Its points as (x, y), in the order of drawing.
    pub points: Vec<(f64, f64)>,
}

/// Axes and what is drawn between them.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// The axis below.
    pub x: Axis,
    /// The axis to the left.
    pub y: Axis,
    /// The curves; up to seven have colours of their own.
    pub series: Vec<Series>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<T> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// The places of an axis, as the drawing library wants them.
struct Places {
    scale: Scale,
    range: Range<f64>,
}

/// Writes `panels`, one below the other, to the file `path`.
///
/// # Errors
/// When the file cannot be written.
pub fn curves(path: &Path, title: &str, panels: &[Panel]) -> Result<(), PlotError> {
    crate::write(path, &curves_svg(title, panels)?)
}

/// The same as text.
///
/// # Errors
/// When the drawing fails, which would be a bug here.
pub fn curves_svg(title: &str, panels: &[Panel]) -> Result<String, PlotError> {
    let mut svg = String::new();
    let height = TITLE_HEIGHT + PANEL_HEIGHT * panels.len() as u32;
    draw(&mut svg, height, title, panels).map_err(|error| PlotError::Draw(error.to_string()))?;
    Ok(svg)
}

fn draw(svg: &mut String, height: u32, title: &str, panels: &[Panel]) -> Drawn<()> {
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(title.to_owned(), (16, 10), (FONT, TITLE_SIZE).into_font().color(&INK)))?;
    let (_, below) = root.split_vertically(TITLE_HEIGHT);
    for (area, panel) in below.split_evenly((panels.len().max(1), 1)).iter().zip(panels) {
        draw_panel(area, panel)?;
    }
    root.present()
}

fn draw_panel(area: &Area<'_>, panel: &Panel) -> Drawn<()> {
    let places: Vec<Vec<(f64, f64)>> = panel.series.iter().map(|series| places(panel, series)).collect();
    let all = || places.iter().flatten();
    let x = Places::new(panel.x.scale, all().map(|&(x, _)| x));
    let y = Places::new(panel.y.scale, all().map(|&(_, y)| y));
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN)
        .margin_top(MARGIN + HEAD_HEIGHT)
        .x_label_area_size(44)
        .y_label_area_size(LABEL_WIDTH)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(&panel.x.label)
        .y_desc(&panel.y.label)
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(WHITE)
        .max_light_lines(0)
        .label_style((FONT, TEXT_SIZE).into_font().color(&INK))
        .draw()?;
    for (index, points) in places.into_iter().enumerate() {
        if points.len() <= DOTS_MAX {
            let dots = points.iter().map(|&point| Circle::new(point, 3, colour(index).filled()));
            chart.draw_series(dots.collect::<Vec<_>>())?;
        }
        if !points.is_empty() {
            chart.draw_series([PathElement::new(points, stroke(index))])?;
        }
    }
    draw_head(area, panel)
}

/// Above the axes: the title at the left, the names of the series at the right.
fn draw_head(area: &Area<'_>, panel: &Panel) -> Drawn<()> {
    let style = (FONT, PANEL_SIZE).into_font().color(&INK);
    area.draw(&Text::new(panel.title.clone(), (MARGIN + LABEL_WIDTH, MARGIN + 2), style))?;
    let mut right = WIDTH as i32 - MARGIN;
    for (index, series) in panel.series.iter().enumerate().rev() {
        let left = right - width(&series.name);
        let style = (FONT, TEXT_SIZE).into_font().color(&INK);
        area.draw(&Text::new(series.name.clone(), (left, MARGIN + 4), style))?;
        let corners = [(left - 18, MARGIN + 9), (left - 5, MARGIN + 13)];
        area.draw(&Rectangle::new(corners, colour(index).filled()))?;
        right = left - 32;
    }
    Ok(())
}

fn places(panel: &Panel, series: &Series) -> Vec<(f64, f64)> {
    let place = |&(x, y): &(f64, f64)| Some((panel.x.scale.place(x)?, panel.y.scale.place(y)?));
    series.points.iter().filter_map(place).collect()
}

impl Places {
    fn new(scale: Scale, places: impl Iterator<Item = f64>) -> Self {
        Self { scale, range: scale.range(places) }
    }
}

impl Ranged for Places {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (first, last): (i32, i32)) -> i32 {
        let part = (place - self.range.start) / (self.range.end - self.range.start);
        first + (part * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.scale.ticks(&self.range)
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Places {
    fn format(place: &f64) -> String {
        place.to_string()
    }

    fn format_ext(&self, place: &f64) -> String {
        self.scale.text(*place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(points: Vec<(f64, f64)>) -> Panel {
        Panel {
            title: "latency".into(),
            x: Axis::new("percentile", Scale::Percentile),
            y: Axis::new("us", Scale::Log),
            series: vec![
                Series { name: "a & b".into(), points },
                Series { name: "c".into(), points: vec![] },
            ],
        }
    }

    #[test]
    fn a_panel_has_its_names_and_marks() {
        let points =
            vec![(0.5, 20.0), (0.9, 40.0), (0.99, 90.0), (0.999, 800.0), (1.0, 900.0), (0.2, f64::NAN)];
        let svg = curves_svg("run <1>", &[panel(points), panel(vec![])]).unwrap();
        for text in
            ["run &lt;1&gt;", "latency", "percentile", "a &amp; b", "99.9", "500", "polyline", "<circle"]
        {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        for points in [
            vec![],
            vec![(0.0, 0.0)],
            vec![(0.1, 1e-300), (0.9, 1e300)],
            vec![(f64::INFINITY, f64::NEG_INFINITY)],
            vec![(0.5, f64::MAX), (0.6, f64::MIN_POSITIVE)],
        ] {
            for scale in [Scale::Linear, Scale::Log, Scale::Percentile] {
                let mut panel = panel(points.clone());
                panel.x.scale = scale;
                panel.y.scale = scale;
                curves_svg("odd", &[panel]).unwrap();
            }
        }
    }
}
