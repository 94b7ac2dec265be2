//! Values of positions: neighbours with the same value cost one entry.
//!
//! Invariants: spans do not overlap; neighbours that touch have different values, but where a span was cut in two to change a part
//! of it and the change came to nothing.

use std::collections::BTreeMap;

use crate::Position;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spans<T> {
    /// By the first position: the last one, and the value.
    spans: BTreeMap<Position, (Position, T)>,
}

impl<T> Spans<T> {
    pub(crate) const fn new() -> Spans<T> {
        Spans { spans: BTreeMap::new() }
    }
}

impl<T> Default for Spans<T> {
    fn default() -> Spans<T> {
        Spans::new()
    }
}

impl<T: Copy + PartialEq> Spans<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// All of them, ascending: first, last, value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Position, Position, T)> + '_ {
        self.spans.iter().map(|(first, (last, value))| (*first, *last, *value))
    }

    /// The value at `first`, if it has one, and the last of those up to `last` of which the same is true.
    pub(crate) fn of(&self, first: Position, last: Position) -> (Option<T>, Position) {
        if let Some((_, (end, value))) = self.spans.range(..=first).next_back()
            && *end >= first
        {
            return (Some(*value), last.min(*end));
        }
        let next = self.spans.range(first..=last).next().map(|(next, _)| next - 1);
        (None, next.unwrap_or(last))
    }

    /// Gives the positions from `first` to `last` a value.
    pub(crate) fn set(&mut self, first: Position, last: Position, value: T) {
        self.remove(first, last);
        let (mut from, mut to) = (first, last);
        if let Some((before, (end, other))) = self.spans.range(..first).next_back()
            && end + 1 == first
            && *other == value
        {
            from = *before;
        }
        if let Some(next) = last.checked_add(1)
            && let Some((end, other)) = self.spans.get(&next)
            && *other == value
        {
            to = *end;
            self.spans.remove(&next);
        }
        self.spans.insert(from, (to, value));
    }

    /// Takes the values of the positions from `first` to `last` away.
    pub(crate) fn remove(&mut self, first: Position, last: Position) {
        if self.spans.is_empty() {
            return;
        }
        self.cut(first);
        if let Some(next) = last.checked_add(1) {
            self.cut(next);
        }
        while let Some((from, _)) = self.spans.range(first..=last).next() {
            let from = *from;
            self.spans.remove(&from);
        }
    }

    /// Parts the span around `at` into what is below and what begins there.
    fn cut(&mut self, at: Position) {
        if let Some((from, (end, value))) = self.spans.range_mut(..at).next_back()
            && *end >= at
        {
            let (from, rest) = (*from, (*end, *value));
            debug_assert!(from < at);
            *end = at - 1;
            self.spans.insert(at, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_what_a_list_of_values_is() {
        let (mut spans, mut list) = (Spans::new(), [None; 12]);
        let steps =
            [(2, 8, 1), (4, 5, 2), (6, 9, 2), (0, 1, 1), (4, 5, 0), (9, 11, 1), (3, 3, 0), (0, 11, 3)];
        for (first, last, value) in steps {
            let value = Some(value).filter(|value| *value > 0);
            match value {
                Some(value) => spans.set(first, last, value),
                None => spans.remove(first, last),
            }
            (first..=last).for_each(|at| list[at as usize] = value);
            for from in 0..12 {
                for to in from..12 {
                    let (found, end) = spans.of(from, to);
                    assert_eq!(found, list[from as usize]);
                    assert!(end == to || list[end as usize + 1] != found, "{from}-{to}");
                    assert!((from..=end).all(|at| list[at as usize] == found));
                }
            }
        }
        assert_eq!(spans.iter().collect::<Vec<_>>(), [(0, 11, 3)]);
        spans.remove(0, Position::MAX);
        assert!(spans.is_empty());
    }
}
