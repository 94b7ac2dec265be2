//! Keys and headers that steps and whole ways route by.

/// Bindings of the topic exchange.
pub(crate) const PATTERNS: usize = 10_000;
/// Different keys that are published to it.
pub(crate) const KEYS: usize = 1_000;
/// Bindings of the headers exchange, and different headers that are published to it.
pub(crate) const KINDS: usize = 100;

/// The name of a queue.
pub(crate) fn queue(number: usize) -> String {
    format!("queue-{number}")
}

/// The binding key of a number below [`PATTERNS`]. Of ten of them six are words alone, three end in a wildcard, and one begins
/// with one and matches no key.
pub(crate) fn pattern(number: usize) -> String {
    let (site, device) = (number / 100, number % 100);
    match number % 10 {
        0..6 => format!("site-{site}.device-{device}.temperature"),
        6 | 7 => format!("site-{site}.device-{device}.*"),
        8 => format!("site-{site}.device-{device}.#"),
        _ if site % 2 == 0 => format!("*.device-{device}.alarm-{site}"),
        _ => format!("#.alarm-{site}.{device}"),
    }
}

/// The routing key of a number below [`KEYS`]: each matches one pattern; those whose number ends in 9 nobody reaches.
pub(crate) fn key(number: usize) -> String {
    let number = number * 10 + number % 9;
    format!("site-{}.device-{}.temperature", number / 100, number % 100)
}

/// The headers that a number below [`KINDS`] stands for: of a message, or what a binding wants of one.
pub(crate) fn headers(number: usize) -> [(&'static str, String); 2] {
    [("kind", format!("kind-{number}")), ("format", "text".to_owned())]
}
