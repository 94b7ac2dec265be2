//! Bars: groups of horizontal bars, one for each thing compared, on one axis.
//!
//! ```text
//! 16 B      WarrenMQ ▇▇▇ 0.09        relay ▇▇ 0.04      RabbitMQ ▇▇▇▇▇▇▇▇▇▇▇ 8.8
//! ```
//! Invariant: a group has one place for each name, also for those that it has no value of, so that colours and order are the
//! same in all groups.

use std::path::Path;

use plotters::{
    backend::SVGBackend,
    coord::Shift,
    drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea},
    element::{PathElement, Rectangle, Text},
    style::{
        Color, IntoFont, TextStyle, WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::{
    PlotError,
    axis::{Axis, short},
    style::{FONT, GRID, INK, TEXT_SIZE, TITLE_HEIGHT, TITLE_SIZE, WIDTH, colour, width},
};

/// Height of one bar with the gap to the next, in pixels.
const BAR_HEIGHT: i32 = 16;
/// Gap between two groups.
const GAP: i32 = 12;
/// Line of the legend, above the bars.
const LEGEND_HEIGHT: i32 = 30;
/// Numbers of the axis and its label, below the bars.
const AXIS_HEIGHT: i32 = 48;
/// Room for the number at the end of the longest bar.
const VALUE_WIDTH: i32 = 70;
/// Shortest bar: a value at the beginning of the axis is not nothing.
const BAR_LENGTH_MIN: i32 = 2;

/// A comparison.
#[derive(Debug, Clone)]
pub struct Bars {
    /// What the lengths are; the numbers at the bars have no unit of their own.
    pub axis: Axis,
    /// The things compared; up to seven have colours of their own.
    pub names: Vec<String>,
    /// The groups, from top to bottom.
    pub groups: Vec<Group>,
}

/// One group of bars.
#[derive(Debug, Clone)]
pub struct Group {
    /// What stands to the left of it.
    pub label: String,
    /// A value for each of [`Bars::names`], `None` where there is none.
    pub values: Vec<Option<f64>>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<T> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// Where things are, in pixels.
struct Layout {
    left: i32,
    right: i32,
    top: i32,
    group_height: i32,
    bottom: i32,
}

/// Writes a comparison to the file `path`.
///
/// # Errors
/// When the file cannot be written.
pub fn bars(path: &Path, title: &str, bars: &Bars) -> Result<(), PlotError> {
    crate::write(path, &bars_svg(title, bars)?)
}

/// The same as text.
///
/// # Errors
/// When the drawing fails, which would be a bug here.
pub fn bars_svg(title: &str, bars: &Bars) -> Result<String, PlotError> {
    let mut svg = String::new();
    draw(&mut svg, title, bars).map_err(|error| PlotError::Draw(error.to_string()))?;
    Ok(svg)
}

fn draw(svg: &mut String, title: &str, bars: &Bars) -> Drawn<()> {
    let layout = Layout::new(bars);
    let height = (layout.bottom + AXIS_HEIGHT).unsigned_abs();
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(title.to_owned(), (16, 10), (FONT, TITLE_SIZE).into_font().color(&INK)))?;
    draw_legend(&root, bars, &layout)?;
    let scale = bars.axis.scale;
    let values = bars.groups.iter().flat_map(|group| &group.values).flatten();
    let range = scale.range(values.filter_map(|&value| scale.place(value)));
    let to_pixel = |place: f64| {
        let part = (place - range.start) / (range.end - range.start);
        layout.left + (part * f64::from(layout.right - layout.left)) as i32
    };
    let (top, bottom) = (layout.top, layout.bottom);
    for place in scale.ticks(&range) {
        let x = to_pixel(place);
        root.draw(&PathElement::new(vec![(x, top), (x, bottom)], GRID))?;
        root.draw(&Text::new(scale.text(place), (x, bottom + 6), text(HPos::Center, VPos::Top)))?;
    }
    let middle = i32::midpoint(layout.left, layout.right);
    root.draw(&Text::new(bars.axis.label.clone(), (middle, bottom + 26), text(HPos::Center, VPos::Top)))?;
    for (index, group) in bars.groups.iter().enumerate() {
        let top = top + GAP / 2 + layout.group_height * index as i32;
        draw_group(&root, bars, group, top, &layout, to_pixel)?;
    }
    root.draw(&PathElement::new(vec![(layout.left, top), (layout.left, bottom)], INK))?;
    root.present()
}

fn draw_group(
    root: &Area<'_>,
    bars: &Bars,
    group: &Group,
    top: i32,
    layout: &Layout,
    to_pixel: impl Fn(f64) -> i32,
) -> Drawn<()> {
    let middle = top + BAR_HEIGHT * bars.names.len() as i32 / 2;
    root.draw(&Text::new(group.label.clone(), (layout.left - 8, middle), text(HPos::Right, VPos::Center)))?;
    for (index, value) in group.values.iter().enumerate() {
        let Some((value, place)) = value.and_then(|value| Some((value, bars.axis.scale.place(value)?)))
        else {
            continue;
        };
        let top = top + BAR_HEIGHT * index as i32;
        let end = to_pixel(place).max(layout.left + BAR_LENGTH_MIN);
        let corners = [(layout.left, top + 1), (end, top + BAR_HEIGHT - 2)];
        root.draw(&Rectangle::new(corners, colour(index).filled()))?;
        let style = text(HPos::Left, VPos::Center);
        root.draw(&Text::new(short(value), (end + 5, top + BAR_HEIGHT / 2), style))?;
    }
    Ok(())
}

fn draw_legend(root: &Area<'_>, bars: &Bars, layout: &Layout) -> Drawn<()> {
    let mut left = layout.left;
    let middle = layout.top - LEGEND_HEIGHT / 2;
    for (index, name) in bars.names.iter().enumerate() {
        root.draw(&Rectangle::new([(left, middle - 5), (left + 12, middle + 5)], colour(index).filled()))?;
        root.draw(&Text::new(name.clone(), (left + 18, middle), text(HPos::Left, VPos::Center)))?;
        left += 18 + width(name) + 22;
    }
    Ok(())
}

fn text(horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    TextStyle::from((FONT, TEXT_SIZE).into_font()).color(&INK).pos(Pos::new(horizontal, vertical))
}

impl Layout {
    fn new(bars: &Bars) -> Self {
        let label = bars.groups.iter().map(|group| width(&group.label)).max().unwrap_or(0);
        let top = TITLE_HEIGHT as i32 + LEGEND_HEIGHT;
        let group_height = BAR_HEIGHT * bars.names.len() as i32 + GAP;
        Self {
            left: (label + 24).min(WIDTH as i32 / 2),
            right: WIDTH as i32 - VALUE_WIDTH,
            top,
            group_height,
            bottom: top + group_height * bars.groups.len() as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scale;

    fn comparison(scale: Scale, values: Vec<Option<f64>>) -> Bars {
        Bars {
            axis: Axis::new("CPU us a message", scale),
            names: vec!["relay".into(), "broker <1>".into()],
            groups: vec![Group { label: "16 B & more".into(), values }],
        }
    }

    #[test]
    fn a_bar_for_each_value() {
        let svg = bars_svg("title", &comparison(Scale::Log, vec![Some(0.04), Some(8.8)])).unwrap();
        for text in
            ["title", "CPU us a message", "relay", "broker &lt;1&gt;", "16 B &amp; more", "0.04", "8.8"]
        {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        // The background, two squares of the legend, two bars.
        assert_eq!(svg.matches("<rect").count(), 5, "{svg}");
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        for values in [vec![], vec![None, None], vec![Some(0.0), Some(f64::NAN)], vec![Some(-1.0), None]] {
            let svg = bars_svg("title", &comparison(Scale::Log, values)).unwrap();
            assert_eq!(svg.matches("<rect").count(), 3, "{svg}");
        }
    }
}
