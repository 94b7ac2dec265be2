//! What a run has found, as it is kept in a file: the page can be written again without another run.
//!
//! Invariant: the file is replaced whole, so that it can be read at any time, also after a run that was cut short.

use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::crew::Work;
use super::plan::Turn;
use super::sampler::Sample;
use crate::bench::machine::Machine;

/// All that the page is made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// What `warrenmq --version` says, and the commit where it is known.
    pub(crate) version: String,
    /// How long the run took.
    pub(crate) minutes: f64,
    /// Cycles that were planned.
    pub(crate) planned: usize,
    pub(crate) cycles: Vec<Cycle>,
    pub(crate) samples: Vec<Sample>,
    /// What must not happen and has.
    pub(crate) failures: Vec<String>,
}

/// What a cycle has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cycle {
    /// When it ended, in seconds since the begin of the run.
    pub(crate) end_s: f64,
    pub(crate) turn: Turn,
    /// Seconds from the start of the next process until it answered a client.
    pub(crate) start_s: Option<f64>,
    pub(crate) work: Work,
    /// CPU seconds of the broker while there were clients.
    pub(crate) cpu_s: f64,
    pub(crate) rest: Rest,
}

/// The broker while nobody is connected: medians over the second half of a rest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rest {
    /// Octets.
    pub(crate) resident: f64,
    pub(crate) descriptors: f64,
    /// Octets.
    pub(crate) disk: f64,
    /// Processors in use, on the average.
    pub(crate) cores: f64,
}

impl Results {
    /// Reads a file of results.
    ///
    /// # Errors
    /// When it is not there or holds something else.
    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// Writes them to a file.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        // A line for each sample would be most of the file.
        let mut text = serde_json::to_string(self)?.replace("},{", "},\n{");
        text.push('\n');
        fs::write(&beside, text)?;
        fs::rename(beside, path)
    }
}
