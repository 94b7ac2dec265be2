//! `warrenmq ctl store check`: reads everything in a data folder and says what is there.
//!
//! Invariant: nothing is changed, and what a broker would refuse to start with is damage here too.

use std::io::Write;

use warrenmq_broker::definitions::{Rebuilt, Remains};
use warrenmq_store::{DataDir, Examination, examine};

use super::progress::Progress;
use super::report::{self, count};
use super::{CtlError, Verdict};

pub(super) fn run(dir: &DataDir, out: &mut dyn Write) -> Result<Verdict, CtlError> {
    let (found, rebuilt) = look(dir)?;
    report::print(out, &found, &rebuilt)?;
    let damage = report::damage(&found, &rebuilt).len();
    if damage == 0 {
        writeln!(out, "everything is whole")?;
        return Ok(Verdict::Whole);
    }
    let (places, path) = (count(damage, "damaged place"), dir.path().display());
    writeln!(out, "{places}; `warrenmq ctl store salvage {path}` keeps what is whole")?;
    Ok(Verdict::Damaged)
}

/// Reads everything, and what the definitions that can be read make by themselves.
pub(super) fn look(dir: &DataDir) -> Result<(Examination, Rebuilt), CtlError> {
    let mut progress = Progress::start();
    let found = examine(dir, &mut |octets| progress.add(octets))?;
    let alone = Remains { entries: &found.definitions.entries, ..Remains::default() };
    // There is no export among them, so no password to be salted.
    let rebuilt = alone.rebuild(Default::default);
    Ok((found, rebuilt))
}
