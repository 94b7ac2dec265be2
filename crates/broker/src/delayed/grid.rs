//! Where a delayed message waits: slots of time of several widths, as numbers that say all of it.
//!
//! ```text
//! number = 1 (1 bit), exchange (20 bits), class (3 bits), start in units of 10 ms since 1970 (40 bits)
//! ```
//! Invariants: a slot begins at a multiple of its width and holds what is due in it; the number of a slot never is that of a
//! queue, whose highest bit is 0; a stamp sorts by time, then by the order of publishing.

/// The highest number that an exchange may have.
pub(crate) const EXCHANGE_MAX: u64 = (1 << EXCHANGE_BITS) - 1;

const EXCHANGE_BITS: u32 = 20;
const CLASS_BITS: u32 = 3;
const START_BITS: u32 = 40;
/// Starts are counted in this, the width of the finest class.
const UNIT_MS: u64 = 10;
/// The highest bit.
const MARK: u64 = 1 << 63;
/// Bits of a stamp below the time.
const ORDER_BITS: u32 = 22;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Widths of slots, finest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    Hundredth,
    Tenth,
    Second,
    Minute,
    Hour,
    Day,
}

impl Class {
    pub(crate) const ALL: [Class; 6] =
        [Class::Hundredth, Class::Tenth, Class::Second, Class::Minute, Class::Hour, Class::Day];

    /// The class for a message that is due after `remaining` ms. What is due sooner than a slot before would be looked at is in a finer
    /// class, so there are never more than some hundreds of slots.
    pub(crate) fn of(remaining: u64) -> Class {
        match remaining {
            0..=120_000 => Class::Second,
            120_001..=7_200_000 => Class::Minute,
            7_200_001..=432_000_000 => Class::Hour,
            _ => Class::Day,
        }
    }

    /// How long a slot is, in ms.
    pub(crate) fn width(self) -> u64 {
        match self {
            Class::Hundredth => UNIT_MS,
            Class::Tenth => SECOND / 10,
            Class::Second => SECOND,
            Class::Minute => MINUTE,
            Class::Hour => HOUR,
            Class::Day => DAY,
        }
    }

    /// How long before its start a slot is looked at, in ms: a coarse one so early that all of it is due in a time for which its
    /// messages would be put into the finer class.
    pub(crate) fn lead(self) -> u64 {
        match self {
            Class::Hundredth => 100,
            Class::Tenth => 300,
            Class::Second | Class::Minute | Class::Hour | Class::Day => self.width(),
        }
    }

    /// Whether its messages go to finer slots always, not only where they are too many.
    pub(crate) fn is_coarse(self) -> bool {
        self > Class::Second
    }

    pub(crate) fn finer(self) -> Option<Class> {
        Self::ALL.get((self as usize).checked_sub(1)?).copied()
    }
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot {
    pub(crate) class: Class,
    /// Unix time in ms.
    pub(crate) start: u64,
}

impl Slot {
    /// The slot of a class that holds a time.
    pub(crate) fn at(class: Class, due: u64) -> Slot {
        let highest = ((1 << START_BITS) - 1) * UNIT_MS;
        let due = due.min(highest);
        Slot { class, start: due - due % class.width() }
    }

    /// The first ms behind it.
    pub(crate) fn end(self) -> u64 {
        self.start + self.class.width()
    }

    /// When it is looked at.
    pub(crate) fn acts_at(self) -> u64 {
        self.start.saturating_sub(self.class.lead())
    }

    /// What names it on disk.
    pub(crate) fn number(self, exchange: u64) -> u64 {
        debug_assert!(exchange <= EXCHANGE_MAX);
        let class = (self.class as u64) << START_BITS;
        MARK | (exchange << (CLASS_BITS + START_BITS)) | class | (self.start / UNIT_MS)
    }

    /// The slot, and the exchange, of such a number; `None` for the number of a queue.
    pub(crate) fn of_number(number: u64) -> Option<(u64, Slot)> {
        if !is_slot(number) {
            return None;
        }
        let exchange = (number & !MARK) >> (CLASS_BITS + START_BITS);
        let class = *Class::ALL.get((number >> START_BITS) as usize & ((1 << CLASS_BITS) - 1))?;
        let start = (number & ((1 << START_BITS) - 1)) * UNIT_MS;
        start.is_multiple_of(class.width()).then_some((exchange, Slot { class, start }))
    }
}

/// Whether a number is not that of a queue.
pub(crate) fn is_slot(number: u64) -> bool {
    number & MARK != 0
}

/// When a message is due, and which of several that are due at the same time comes first. Names it in its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    /// `order` counts the messages of the exchange, and begins again at some time.
    pub(crate) fn new(due: u64, order: u64) -> Stamp {
        let due = due.min((1 << (64 - ORDER_BITS)) - 1);
        Stamp((due << ORDER_BITS) | (order & ((1 << ORDER_BITS) - 1)))
    }

    /// Unix time in ms.
    pub(crate) fn due(self) -> u64 {
        self.0 >> ORDER_BITS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const YEAR: u64 = 365 * DAY;

    #[test]
    fn classes_by_the_time_that_is_left() {
        let cases = [
            (0, Class::Second),
            (120_000, Class::Second),
            (120_001, Class::Minute),
            (2 * HOUR, Class::Minute),
            (2 * HOUR + 1, Class::Hour),
            (5 * DAY, Class::Hour),
            (5 * DAY + 1, Class::Day),
            (YEAR, Class::Day),
        ];
        for (remaining, class) in cases {
            assert_eq!(Class::of(remaining), class, "{remaining}");
        }
    }

    #[test]
    fn widths_divide_each_other() {
        for class in Class::ALL {
            if let Some(finer) = class.finer() {
                assert_eq!((finer < class, class.width() % finer.width()), (true, 0));
            }
            assert_eq!(class.width() % UNIT_MS, 0);
        }
        assert_eq!(Class::Hundredth.finer(), None);
    }

    proptest! {
        #[test]
        fn a_slot_holds_its_time_and_is_found_again(
            due in 0u64..5_000_000_000_000, exchange in 0..=EXCHANGE_MAX, class in 0usize..6
        ) {
            let slot = Slot::at(Class::ALL[class], due);
            prop_assert!(slot.start <= due && due < slot.end());
            let number = slot.number(exchange);
            prop_assert!(is_slot(number));
            prop_assert_eq!(Slot::of_number(number), Some((exchange, slot)));
            prop_assert_eq!(Slot::of_number(number & !MARK), None);
        }

        #[test]
        fn any_number_is_a_slot_or_none(number: u64) {
            if let Some((exchange, slot)) = Slot::of_number(number) {
                prop_assert_eq!(slot.number(exchange), number);
            }
        }

        /// When a coarse slot is looked at, all of it goes to a finer class, and its slots are not due to be looked at before.
        #[test]
        fn slots_are_looked_at_in_time(now in 0u64..4_000_000_000_000, remaining in 0..=YEAR) {
            let mut class = Class::of(remaining);
            let due = now + remaining;
            let mut at = now;
            while class.is_coarse() {
                let slot = Slot::at(class, due);
                // A message may come while its slot is looked at already.
                at = at.max(slot.acts_at());
                prop_assert!(at <= due);
                let finer = class.finer().expect("coarse ones have one");
                prop_assert!(Class::of(due - at) <= finer, "{:?} at {}", slot, at);
                class = finer;
            }
        }

        #[test]
        fn stamps_sort_by_time_then_order(a in 0u64..1 << 42, b in 0u64..1 << 42, x in 0u64..1 << 22, y in 0u64..1 << 22) {
            let (one, other) = (Stamp::new(a, x), Stamp::new(b, y));
            prop_assert_eq!(one.cmp(&other), (a, x).cmp(&(b, y)));
            prop_assert_eq!(one.due(), a);
        }
    }
}
