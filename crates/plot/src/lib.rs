//! Charts of measurements as SVG files: [`curves()`] over time or over percentiles, [`bars()`] for comparisons.
//!
//! It knows nothing of brokers: numbers and their names come in, a picture goes out. Invariant: any finite or infinite number may
//! come; what an axis cannot show (not a number, infinite, not above zero on a logarithmic axis) is left out, never an error.

mod axis;
mod bars;
mod curves;
mod style;

use std::{fs, io, path::Path};

pub use axis::{Axis, Scale};
pub use bars::{Bars, Group, bars, bars_svg};
pub use curves::{Panel, Series, curves, curves_svg};

/// Why a chart could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The file could not be written.
    #[error("cannot write {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The chart could not be drawn.
    #[error("cannot draw: {0}")]
    Draw(String),
}

fn write(path: &Path, svg: &str) -> Result<(), PlotError> {
    fs::write(path, svg).map_err(|source| PlotError::File { path: path.display().to_string(), source })
}
