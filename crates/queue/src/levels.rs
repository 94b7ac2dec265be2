//! The levels of a queue: one for each priority that a message of it has had.
//!
//! Invariants: they ascend by priority, each priority is there once, and one level at least is there; so a queue that knows many
//! priorities and sees one costs no more than a plain one. A place in the list holds until the next level is made.

use std::ops::{Deref, DerefMut};

use crate::level::Level;

#[derive(Debug)]
pub(crate) struct Levels(Box<[Level]>);

impl Levels {
    /// One level, of the priority that most messages have.
    pub(crate) fn new(usual: u8) -> Levels {
        Levels(Box::new([Level::new(usual)]))
    }

    /// Where the level of a priority stands; it is made if it is not there.
    #[inline]
    pub(crate) fn at(&mut self, priority: u8) -> usize {
        match self.0.binary_search_by_key(&priority, |level| level.priority) {
            Ok(at) => at,
            Err(at) => {
                let mut list = std::mem::take(&mut self.0).into_vec();
                list.insert(at, Level::new(priority));
                self.0 = list.into_boxed_slice();
                at
            }
        }
    }

    /// Where the level of a priority stands, if it is there.
    pub(crate) fn find(&self, priority: u8) -> Option<usize> {
        self.0.binary_search_by_key(&priority, |level| level.priority).ok()
    }
}

impl Deref for Levels {
    type Target = [Level];

    #[inline]
    fn deref(&self) -> &[Level] {
        &self.0
    }
}

impl DerefMut for Levels {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Level] {
        &mut self.0
    }
}

impl<'a> IntoIterator for &'a mut Levels {
    type Item = &'a mut Level;
    type IntoIter = std::slice::IterMut<'a, Level>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_with_their_priorities() {
        let mut levels = Levels::new(4);
        assert_eq!([4, 31, 0, 4, 5, 31].map(|priority| levels.at(priority)), [0, 1, 0, 1, 2, 3]);
        assert_eq!(levels.iter().map(|level| level.priority).collect::<Vec<_>>(), [0, 4, 5, 31]);
        assert_eq!((levels.find(5), levels.find(6)), (Some(2), None));
    }
}
