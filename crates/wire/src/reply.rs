//! Reply codes of AMQP 0-9-1, their names as RabbitMQ writes them, and the text of a close.

/// Longest reply text in octets: it is a short string.
const TEXT_MAX: usize = 255;

macro_rules! reply_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal $name:literal $hard:literal;)*) => {
        /// Why a channel or a connection is closed, or a message returned.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ReplyCode { $($(#[$doc])* $variant = $code,)* }

        impl ReplyCode {
            /// All codes, in ascending order.
            pub const ALL: &'static [ReplyCode] = &[$(ReplyCode::$variant,)*];

            /// The name that RabbitMQ puts in front of every explanation.
            pub const fn name(self) -> &'static str {
                match self { $(ReplyCode::$variant => $name,)* }
            }

            /// Whether the code closes the connection; the others close the channel.
            pub const fn is_hard(self) -> bool {
                match self { $(ReplyCode::$variant => $hard,)* }
            }
        }
    };
}

reply_codes! {
    /// The message is larger than the server takes.
    ContentTooLarge = 311 "CONTENT_TOO_LARGE" false;
    /// A mandatory message was routed to no queue.
    NoRoute = 312 "NO_ROUTE" false;
    /// An immediate message found no consumer.
    NoConsumers = 313 "NO_CONSUMERS" false;
    /// An operator or a shutdown closes the connection.
    ConnectionForced = 320 "CONNECTION_FORCED" true;
    /// The virtual host's path is not valid.
    InvalidPath = 402 "INVALID_PATH" true;
    /// The user may not do this.
    AccessRefused = 403 "ACCESS_REFUSED" false;
    /// The queue, exchange or virtual host does not exist.
    NotFound = 404 "NOT_FOUND" false;
    /// Another connection has the queue for itself.
    ResourceLocked = 405 "RESOURCE_LOCKED" false;
    /// The request contradicts the state that it meets.
    PreconditionFailed = 406 "PRECONDITION_FAILED" false;
    /// A frame cannot be decoded.
    FrameError = 501 "FRAME_ERROR" true;
    /// A field has a value that is not allowed there.
    SyntaxError = 502 "SYNTAX_ERROR" true;
    /// The method is not allowed at this point.
    CommandInvalid = 503 "COMMAND_INVALID" true;
    /// The channel is not open, or open already.
    ChannelError = 504 "CHANNEL_ERROR" true;
    /// A frame of this kind is not expected now.
    UnexpectedFrame = 505 "UNEXPECTED_FRAME" true;
    /// The server lacks what the request needs.
    ResourceError = 506 "RESOURCE_ERROR" true;
    /// The server's rules forbid it.
    NotAllowed = 530 "NOT_ALLOWED" true;
    /// The server does not do this.
    NotImplemented = 540 "NOT_IMPLEMENTED" true;
    /// The server failed.
    InternalError = 541 "INTERNAL_ERROR" true;
}

impl ReplyCode {
    /// The number on the wire.
    pub const fn code(self) -> u16 {
        self as u16
    }
}

/// `<NAME> - <explanation>`, at most 255 octets. A longer text is cut to 252 octets and ends in `...`, as
/// RabbitMQ does it (`rabbit_binary_generator:amqp_exception_explanation`), except that we never cut inside a
/// character.
pub fn reply_text(code: ReplyCode, explanation: &str) -> String {
    let mut text = format!("{} - {explanation}", code.name());
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX - 3));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use amq_protocol::protocol::{AMQPHardError, AMQPSoftError};

    #[test]
    fn codes_and_scopes_are_those_of_the_specification() {
        for code in ReplyCode::ALL {
            assert_eq!(AMQPHardError::from_id(code.code()).is_some(), code.is_hard(), "{code:?}");
            // RabbitMQ knows 312 (and only uses it in returns), the specification's list of errors does not.
            let is_soft = AMQPSoftError::from_id(code.code()).is_some() || *code == ReplyCode::NoRoute;
            assert_eq!(is_soft, !code.is_hard(), "{code:?}");
        }
        assert!(ReplyCode::ALL.is_sorted_by_key(|code| code.code()));
    }

    #[test]
    fn a_reply_text_fits_a_short_string() {
        let code = ReplyCode::NotFound;
        let name = "NOT_FOUND - ".len();
        assert_eq!(reply_text(code, "no queue 'q' in vhost '/'"), "NOT_FOUND - no queue 'q' in vhost '/'");
        assert_eq!(reply_text(code, &"a".repeat(255 - name)).len(), 255);
        assert!(!reply_text(code, &"a".repeat(255 - name)).ends_with("..."));
        let cut = reply_text(code, &"a".repeat(256 - name));
        assert_eq!((cut.len(), &cut[248..]), (255, "aaaa..."));
        for shift in 0..4 {
            let cut = reply_text(code, &("a".repeat(shift) + &"€".repeat(100)));
            assert!(cut.len() <= 255 && cut.ends_with("€..."), "{cut}");
        }
    }
}
