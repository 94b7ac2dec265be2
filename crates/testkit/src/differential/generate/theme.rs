//! What a script is about: which steps come often in it, and which queues and exchanges it has. The depth of one feature is reached by
//! doing much of the same.

/// What queues and exchanges of a script are, beside the plain ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matter {
    /// Nothing special.
    Plain,
    /// Time and limits.
    Limits,
    /// Consumers with priorities, queues with a single active one.
    Turns,
    /// Transactions on every channel.
    Transactions,
    /// Quorum queues.
    Quorum,
    /// Queues and exchanges that policies are about.
    Policies,
    /// Exchanges with alternates, bound to each other, and of the types of plugins.
    Exchanges,
}

/// How often each kind of step comes, in parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) matter: Matter,
    pub(super) declare: u64,
    pub(super) bind: u64,
    pub(super) publish: u64,
    pub(super) consume: u64,
    pub(super) get: u64,
    pub(super) settle: u64,
    pub(super) mode: u64,
    pub(super) life: u64,
    pub(super) wait: u64,
    pub(super) hostile: u64,
    pub(super) reply: u64,
}

/// The parts in the order of the fields of [`Theme`].
const fn theme(matter: Matter, parts: [u64; 11]) -> Theme {
    let [declare, bind, publish, consume, get, settle, mode, life, wait, hostile, reply] = parts;
    Theme { matter, declare, bind, publish, consume, get, settle, mode, life, wait, hostile, reply }
}

/// One of them is chosen by the seed.
pub(super) const THEMES: [Theme; 13] = [
    //               declare bind publish consume get settle mode life wait hostile reply
    // Something of everything.
    theme(Matter::Plain, [12, 10, 25, 10, 8, 20, 6, 8, 2, 2, 2]),
    // Declarations.
    theme(Matter::Plain, [60, 10, 8, 6, 2, 2, 2, 10, 3, 2, 0]),
    // Routing.
    theme(Matter::Plain, [10, 35, 35, 4, 8, 4, 2, 4, 1, 1, 0]),
    // Consumers.
    theme(Matter::Plain, [3, 2, 30, 25, 4, 30, 3, 8, 1, 0, 0]),
    theme(Matter::Turns, [4, 0, 35, 25, 3, 30, 2, 10, 1, 0, 0]),
    // Acknowledgements, confirms, transactions.
    theme(Matter::Plain, [3, 2, 30, 6, 10, 35, 12, 6, 1, 1, 0]),
    theme(Matter::Transactions, [6, 4, 30, 8, 8, 25, 25, 8, 1, 1, 1]),
    // Time and limits.
    theme(Matter::Limits, [8, 4, 40, 8, 10, 18, 4, 2, 8, 0, 0]),
    // Ends and mistakes.
    theme(Matter::Plain, [14, 8, 18, 14, 6, 10, 8, 25, 1, 12, 3]),
    // Requests and their answers.
    theme(Matter::Plain, [4, 0, 10, 10, 6, 5, 4, 10, 0, 0, 50]),
    theme(Matter::Quorum, [6, 2, 30, 14, 12, 32, 6, 6, 2, 0, 0]),
    theme(Matter::Policies, [12, 10, 40, 8, 10, 18, 4, 4, 5, 0, 0]),
    theme(Matter::Exchanges, [16, 30, 40, 3, 10, 4, 3, 4, 0, 0, 0]),
];
