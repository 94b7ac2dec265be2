//! What goes wrong in the journal and in the segments. Invariant: each text is one line for the operator and names
//! the file and the way out.

use std::io;
use std::sync::Arc;

/// Why messages could not be stored or read. Paths are relative to the data folder.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The system refused. After a write or a sync this is final: what the file holds is unknown.
    #[error("{doing} {path} failed: {source}; {}", way_out(source))]
    Io {
        /// The file or folder.
        path: String,
        /// What was being done, as a gerund: `writing`, `syncing`.
        doing: &'static str,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A file does not hold what was written to it. Never said of what a crash alone can leave behind.
    #[error(
        "{path} is damaged at octet {offset}: {what}; restore the data folder, or `warrenmq ctl store salvage DIR` \
         keeps what is whole"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A newer program wrote the file.
    #[error("{path} has format {format}, this program reads up to {newest}; start the version that wrote it")]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        format: u32,
        /// The newest that is known here.
        newest: u32,
    },
}

impl StoreError {
    /// Gives an error of the system its file and what was being done, a gerund.
    pub(crate) fn io(path: &str, doing: &'static str, source: io::Error) -> StoreError {
        StoreError::Io { path: path.to_owned(), doing, source: Arc::new(source) }
    }

    /// Damage at an octet of a file.
    pub(crate) fn damaged(path: &str, offset: u64, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: path.to_owned(), offset, what: what.into() }
    }
}

fn way_out(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room, then start again",
        io::ErrorKind::FileTooLarge => "raise the limit of file sizes (ulimit -f), then start again",
        io::ErrorKind::PermissionDenied => "give the broker's user the right to it, then start again",
        _ => "check the disk, then start again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_line_with_a_way_out() {
        let full = StoreError::io("journal/3.log", "writing", io::ErrorKind::StorageFull.into());
        let cases = [
            (full, "writing journal/3.log failed: no storage space; make room, then start again"),
            (
                StoreError::damaged("journal/3.log", 64, "checksum"),
                "journal/3.log is damaged at octet 64: checksum; restore the data folder, or `warrenmq ctl store \
                 salvage DIR` keeps what is whole",
            ),
            (
                StoreError::Newer { path: "journal/3.log".into(), format: 2, newest: 1 },
                "journal/3.log has format 2, this program reads up to 1; start the version that wrote it",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }
}
