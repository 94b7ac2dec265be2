//! What happens to one connection, drawn from a seed and the connection's number.

use std::time::Duration;

use crate::random::Random;

/// Something bad that happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// Both sides are closed with FIN.
    Cut,
    /// Both sides are closed with RST.
    Reset,
    /// Nothing passes in either direction for a time, and nothing is read.
    Stall(Duration),
    /// The client is cut; to the broker it looks as if its client were there and silent.
    ClientGone,
    /// The broker is cut; to the client it looks as if its broker were there and silent.
    BrokerGone,
}

/// In what pieces octets are handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Octets of a piece, at the most.
    pub piece: usize,
    /// So many of 1000 pieces …
    pub late_permille: u64,
    /// … wait for up to so long.
    pub late_max: Duration,
}

/// When something happens, counted from what happened before it: whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct When {
    /// So many octets have passed, in both directions together.
    pub(super) octets: u64,
    /// So much time has passed.
    pub(super) time: Duration,
}

/// All that happens to a connection, in its order. The last one ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mishaps {
    pub(super) pace: Pace,
    /// The next one is the last of the list.
    pub(super) ahead: Vec<(When, Mishap)>,
    /// For what is drawn while octets pass.
    pub(super) seed: u64,
}

impl Mishap {
    /// Names of all kinds, in the order of [`Mishap::kind`].
    pub const NAMES: [&str; 5] = ["cut", "reset", "stall", "client gone", "broker gone"];

    /// The place of its name.
    pub fn kind(self) -> usize {
        match self {
            Mishap::Cut => 0,
            Mishap::Reset => 1,
            Mishap::Stall(_) => 2,
            Mishap::ClientGone => 3,
            Mishap::BrokerGone => 4,
        }
    }
}

impl Mishaps {
    /// Those of the connection with this number.
    pub fn draw(seed: u64, number: u64) -> Mishaps {
        // Neighbouring seeds and numbers have nothing in common.
        let mut random = Random::new(Random::new(seed).draw() ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let end = match random.below(100) {
            0..30 => Mishap::Cut,
            30..60 => Mishap::Reset,
            60..80 => Mishap::ClientGone,
            _ => Mishap::BrokerGone,
        };
        let mut ahead = vec![(When::draw(&mut random), end)];
        while random.chance(350) && ahead.len() < 4 {
            // Some are shorter than two heartbeats of a client, some are not.
            let stall = Duration::from_millis(50 + (1 << random.below(14)) + random.below(500));
            ahead.push((When::draw(&mut random), Mishap::Stall(stall)));
        }
        Mishaps { pace: Pace::draw(&mut random), ahead, seed: random.draw() }
    }

    /// A connection that is left in peace.
    pub fn none() -> Mishaps {
        Mishaps { pace: Pace::WHOLE, ahead: Vec::new(), seed: 0 }
    }
}

impl Pace {
    /// As it comes.
    pub const WHOLE: Pace = Pace { piece: usize::MAX, late_permille: 0, late_max: Duration::ZERO };

    fn draw(random: &mut Random) -> Pace {
        let piece = *random.pick(&[1, 2, 7, 8, 100, 1460, usize::MAX, usize::MAX]).unwrap_or(&1);
        // Each of many pieces cannot wait as long as each of few.
        let late_permille = if piece < 100 { random.below(3) } else { random.below(200) };
        Pace { piece, late_permille, late_max: Duration::from_millis(1 << random.below(8)) }
    }
}

impl When {
    /// From the midst of the handshake to some hundred messages later.
    fn draw(random: &mut Random) -> When {
        let size = 1 << (5 + random.below(13));
        When { octets: size + random.below(size), time: Duration::from_millis(100 + random.below(8000)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_number_say_what_happens() {
        assert_eq!(Mishaps::draw(1, 7), Mishaps::draw(1, 7));
        assert_ne!(Mishaps::draw(1, 7), Mishaps::draw(1, 8));
        assert_ne!(Mishaps::draw(1, 7), Mishaps::draw(2, 7));
    }

    #[test]
    fn everything_happens_to_some_and_every_connection_ends() {
        let drawn: Vec<_> = (0..200).map(|number| Mishaps::draw(3, number)).collect();
        for kind in 0..Mishap::NAMES.len() {
            let with_it = |mishaps: &&Mishaps| mishaps.ahead.iter().any(|(_, mishap)| mishap.kind() == kind);
            assert!(drawn.iter().filter(with_it).count() > 15, "{}", Mishap::NAMES[kind]);
        }
        assert!(drawn.iter().filter(|mishaps| mishaps.pace.piece == 1).count() > 10);
        for mishaps in &drawn {
            // The first of the list is the last to happen.
            assert!(!matches!(mishaps.ahead[0].1, Mishap::Stall(_)), "{mishaps:?}");
            assert!(mishaps.ahead[1..].iter().all(|(_, mishap)| matches!(mishap, Mishap::Stall(_))));
        }
    }
}
