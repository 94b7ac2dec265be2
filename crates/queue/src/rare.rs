//! What most queues never have: a pointer while it is empty, a box when it is not.
//!
//! Invariant: reading never allocates; an empty one reads like the empty value of its type.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A value that is nearly always empty. Only a change of it allocates: ask whether there is anything before changing
/// where that may be in vain.
pub struct Rare<T>(Option<Box<T>>);

/// A type with an empty value that needs no memory of its own.
pub trait Empty: Default + 'static {
    /// What an empty [`Rare`] reads like.
    const EMPTY: &'static Self;
}

impl<T: Empty> Rare<T> {
    /// Whether nothing is there. What is there may be empty, too.
    #[inline]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// What is there, if anything is.
    pub fn held(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// Gives up what is there, with its memory.
    pub fn take(&mut self) -> T {
        self.0.take().map(|value| *value).unwrap_or_default()
    }
}

impl<T: Empty> Deref for Rare<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Empty> DerefMut for Rare<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Rare<T> {
        Rare(None)
    }
}

impl<T> From<T> for Rare<T> {
    fn from(value: T) -> Rare<T> {
        Rare(Some(Box::new(value)))
    }
}

impl<T: Empty + Clone> Clone for Rare<T> {
    fn clone(&self) -> Rare<T> {
        Rare(self.0.clone())
    }
}

impl<T: Empty + PartialEq> PartialEq for Rare<T> {
    fn eq(&self, other: &Rare<T>) -> bool {
        **self == **other
    }
}

impl<T: Empty + Eq> Eq for Rare<T> {}

impl<T: Empty + fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: 'static> Empty for Vec<T> {
    const EMPTY: &'static Vec<T> = &Vec::new();
}

impl<T: 'static> Empty for VecDeque<T> {
    const EMPTY: &'static VecDeque<T> = &VecDeque::new();
}

impl<K: 'static, V: 'static> Empty for BTreeMap<K, V> {
    const EMPTY: &'static BTreeMap<K, V> = &BTreeMap::new();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_what_it_holds() {
        let mut rare: Rare<Vec<u8>> = Rare::default();
        assert_eq!(size_of_val(&rare), size_of::<usize>());
        assert!(rare.is_empty() && rare.0.is_none());
        assert_eq!(rare.take(), Vec::<u8>::new());
        rare.push(1);
        assert_eq!(rare, Rare::from(vec![1]));
        assert_eq!(rare.take(), [1]);
        assert_eq!(rare, Rare::default());
        rare.clear();
        assert_eq!(rare, Rare::default());
    }
}
