//! Methods as values, by way of `amq-protocol`: everything but the hot ones of [`crate::basic`].
//!
//! Invariant: `amq-protocol` sees a payload only after our own walk over its arguments, so it meets neither
//! deep nesting nor a wrong length. What RabbitMQ 3.10.8 does with each [`MethodError`]: `Malformed` is 501
//! `FRAME_ERROR - cannot decode <<…>>` with the ids of the method, `BadUtf8` 501 `Malformed UTF-8 in
//! shortstr` with ids 0 and 0, `Truncated` 501 `type 1, all octets = <<…>>: unknown_frame`; for
//! `UnknownMethod` and `BadTable` its reader crashes, and the client sees the connection reset without a
//! close.

use crate::method_table::{self, ArgumentError};
use crate::table::TableError;
use crate::{cursor, frame};
use amq_protocol::protocol::{gen_class, parse_class};

pub use crate::{DecodeError, EncodeError};
pub use amq_protocol::protocol::AMQPClass as Method;
pub use amq_protocol::protocol::basic as basic_cold;
pub use amq_protocol::protocol::{
    BasicProperties, access, channel, confirm, connection, exchange, queue, tx,
};
pub use amq_protocol::types::{
    AMQPType, AMQPValue, ByteArray, DecimalValue, FieldArray, FieldTable, LongString, ShortString,
};

/// Why a payload is not a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    /// No such class, or no such method in it.
    #[error("unknown method {method} of class {class}")]
    UnknownMethod {
        /// Class id as sent.
        class: u16,
        /// Method id as sent.
        method: u16,
    },
    /// The arguments end too early, or octets follow the last one.
    #[error("malformed arguments of method {method} of class {class}: {reason}")]
    Malformed {
        /// Class id.
        class: u16,
        /// Method id.
        method: u16,
        /// What is wrong.
        reason: DecodeError,
    },
    /// A table among the arguments is malformed or nested too deeply.
    #[error("malformed table in method {method} of class {class}: {reason}")]
    BadTable {
        /// Class id.
        class: u16,
        /// Method id.
        method: u16,
        /// What is wrong.
        reason: TableError,
    },
    /// A short string, or a key in a table, is not UTF-8. RabbitMQ does not check keys; here they must be
    /// UTF-8, because the types of `amq-protocol` hold them as such.
    #[error("malformed UTF-8 in method {method} of class {class}")]
    BadUtf8 {
        /// Class id.
        class: u16,
        /// Method id.
        method: u16,
    },
    /// Fewer than the four octets of the ids.
    #[error("a method frame of fewer than four octets")]
    Truncated,
}

/// Reads the payload of a method frame: class id, method id, arguments.
///
/// For `basic.publish` use [`crate::basic::parse_publish`], which takes routing keys that are not UTF-8, as
/// RabbitMQ does.
///
/// # Errors
/// [`MethodError`].
pub fn parse(payload: &[u8]) -> Result<Method, MethodError> {
    let mut args = payload;
    let (Some(class), Some(method)) = (cursor::u16(&mut args), cursor::u16(&mut args)) else {
        return Err(MethodError::Truncated);
    };
    let spec = method_table::find(class, method).ok_or(MethodError::UnknownMethod { class, method })?;
    spec.check(args).map_err(|error| match error {
        ArgumentError::Malformed(DecodeError::Table(reason)) => {
            MethodError::BadTable { class, method, reason }
        }
        ArgumentError::Malformed(reason) => MethodError::Malformed { class, method, reason },
        ArgumentError::BadUtf8 => MethodError::BadUtf8 { class, method },
    })?;
    // Keys of tables are the one thing that the walk leaves open and `amq-protocol` wants in UTF-8.
    parse_class(payload).map(|(_, parsed)| parsed).map_err(|_| MethodError::BadUtf8 { class, method })
}

/// Class and method id of a method payload, if it has them.
#[inline]
pub fn ids(payload: &[u8]) -> Option<(u16, u16)> {
    let &[c0, c1, m0, m1] = payload.first_chunk()?;
    Some((u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1])))
}

/// Class and method id of a method.
pub fn method_ids(method: &Method) -> (u16, u16) {
    (method.get_amqp_class_id(), method.get_amqp_method_id())
}

/// The name as RabbitMQ prints it, such as `queue.declare` or `connection.start-ok`.
pub fn method_name(class: u16, method: u16) -> Option<&'static str> {
    method_table::find(class, method).map(|spec| spec.name)
}

/// Appends a whole method frame. On an error `out` is as it was.
///
/// # Errors
/// When `amq-protocol` cannot write the method, or its payload needs more than 32 bits of length.
pub fn put(out: &mut Vec<u8>, channel: u16, method: &Method) -> Result<(), EncodeError> {
    let payload = gen_class(method)(Vec::new().into())?.write;
    if u32::try_from(payload.len()).is_err() {
        return Err(EncodeError::TooLarge(payload.len()));
    }
    frame::put(out, frame::METHOD, channel, &payload);
    Ok(())
}
