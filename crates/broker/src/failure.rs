//! What ends the process: definitions or messages that can no longer be written.
//!
//! Invariant: it is final. Nothing that was not confirmed before will be.

use std::sync::Arc;

use thiserror::Error;
use warrenmq_store::{DefinitionError, StoreError};

/// Why nothing can be promised any more; one line for the operator.
#[derive(Debug, Error)]
pub enum Failure {
    /// Definitions could not be written.
    #[error(transparent)]
    Definitions(DefinitionError),
    /// Messages could not be written or read back.
    #[error(transparent)]
    Messages(StoreError),
}

/// Told of it, in the thread that met it.
pub type OnFailure = Arc<dyn Fn(Failure) + Send + Sync>;
