//! What can be wrong with bytes, and with a method that is to become bytes.

use crate::table::TableError;
use amq_protocol::types::generation::GenError;

/// Why a payload could not be read. In the arguments of a method RabbitMQ answers with 501 `FRAME_ERROR -
/// cannot decode <<…>>`, in the properties of a content with 541 `INTERNAL_ERROR` and no explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A field, or a length in it, reaches beyond the end of the payload.
    #[error("the payload ends inside a field")]
    Truncated,
    /// Octets follow the last field.
    #[error("{0} octets follow the last field")]
    Trailing(usize),
    /// A field table in the payload is malformed.
    #[error("malformed field table: {0}")]
    Table(#[from] TableError),
}

/// Why a method could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The generator of `amq-protocol` refused the method.
    #[error("cannot generate the method: {0}")]
    Generate(String),
    /// The payload does not fit the 32-bit length of a frame.
    #[error("the payload of {0} octets does not fit a frame")]
    TooLarge(usize),
}

impl From<GenError> for EncodeError {
    fn from(error: GenError) -> Self {
        Self::Generate(error.to_string())
    }
}
