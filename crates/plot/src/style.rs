//! What all charts look like: colours, letters, sizes.

use plotters::style::{RGBColor, ShapeStyle};

/// Letters of everything; SVG viewers take their own sans-serif.
pub(crate) const FONT: &str = "sans-serif";
/// Title of a file. Sizes are those of the drawing library, which makes letters of 0.8 times as many pixels of them.
pub(crate) const TITLE_SIZE: i32 = 24;
/// Title of a panel.
pub(crate) const PANEL_SIZE: i32 = 19;
/// Everything else.
pub(crate) const TEXT_SIZE: i32 = 16;
/// Width of a picture in pixels.
pub(crate) const WIDTH: u32 = 900;
/// Height of the line with the title.
pub(crate) const TITLE_HEIGHT: u32 = 36;
pub(crate) const INK: RGBColor = RGBColor(40, 40, 40);
pub(crate) const GRID: RGBColor = RGBColor(222, 222, 222);

/// Colours that remain apart for the colour-blind and on paper (Okabe and Ito), in the order of use.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(100, 100, 100),
];

/// The colour of series `index`.
pub(crate) fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// A line of series `index`.
pub(crate) fn stroke(index: usize) -> ShapeStyle {
    ShapeStyle::from(colour(index)).stroke_width(2)
}

/// About how wide `text` is in pixels: a little more than half its height for each letter.
pub(crate) fn width(text: &str) -> i32 {
    text.chars().count() as i32 * TEXT_SIZE * 45 / 100
}
