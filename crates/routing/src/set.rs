//! A persistent ordered set for few or many elements: most keys have one destination and most queues one
//! or two bindings, and those must not cost a tree node each.

use imbl::OrdSet;
use std::sync::Arc;

/// Up to this many elements a change copies all of them.
const FEW_MAX: usize = 8;

/// A sorted set. Cloning costs one reference count; a change of a shared set costs a logarithm.
#[derive(Debug, Clone, Default)]
pub(crate) enum Set<T: Ord> {
    #[default]
    Empty,
    One(T),
    /// Sorted.
    Few(Arc<[T]>),
    Many(OrdSet<T>),
}

impl<T: Ord + Clone> Set<T> {
    /// Adds an element; false when it was there.
    pub(crate) fn insert(&mut self, element: T) -> bool {
        if let Self::Many(set) = self {
            if set.contains(&element) {
                return false;
            }
            set.insert(element);
            return true;
        }
        let few = self.few();
        let Err(place) = few.binary_search(&element) else { return false };
        let (before, after) = few.split_at(place);
        let elements = before.iter().cloned().chain([element]).chain(after.iter().cloned());
        *self = match few.len() {
            0 => elements.last().map_or(Self::Empty, Self::One),
            FEW_MAX => Self::Many(elements.collect()),
            _ => Self::Few(elements.collect()),
        };
        true
    }

    /// Removes an element; false when it was not there.
    pub(crate) fn remove(&mut self, element: &T) -> bool {
        let removed = if let Self::Many(set) = self {
            set.remove(element).is_some()
        } else {
            self.remove_from_few(element)
        };
        // Going back only at half the size keeps a set at the border from changing its form all the time.
        if let Self::Many(set) = self
            && set.len() <= FEW_MAX / 2
        {
            *self = Self::Few(set.iter().cloned().collect());
        }
        removed
    }

    fn remove_from_few(&mut self, element: &T) -> bool {
        let few = self.few();
        let Ok(place) = few.binary_search(element) else { return false };
        let (before, after) = few.split_at(place);
        let mut elements = before.iter().chain(after.iter().skip(1)).cloned();
        *self = match few.len() {
            1 => Self::Empty,
            2 => elements.next().map_or(Self::Empty, Self::One),
            _ => Self::Few(elements.collect()),
        };
        true
    }

    pub(crate) fn contains(&self, element: &T) -> bool {
        match self {
            Self::Many(set) => set.contains(element),
            _ => self.few().binary_search(element).is_ok(),
        }
    }

    /// The smallest element that is not below `element`.
    pub(crate) fn at_or_after(&self, element: &T) -> Option<&T> {
        match self {
            Self::Many(set) => set.get_next(element),
            _ => self.few().get(self.few().partition_point(|other| other < element)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Many(set) => set.len(),
            _ => self.few().len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// The elements in their order.
    pub(crate) fn iter(&self) -> Iter<'_, T> {
        match self {
            Self::Many(set) => Iter::Many(set.iter()),
            _ => Iter::Few(self.few().iter()),
        }
    }

    /// The elements of a set that is not `Many`.
    fn few(&self) -> &[T] {
        match self {
            Self::One(element) => std::slice::from_ref(element),
            Self::Few(elements) => elements,
            Self::Empty | Self::Many(_) => &[],
        }
    }
}

/// Iterator over a [`Set`].
pub(crate) enum Iter<'a, T: Ord> {
    Few(std::slice::Iter<'a, T>),
    Many(imbl::ordset::Iter<'a, T, imbl::shared_ptr::DefaultSharedPtr>),
}

impl<'a, T: Ord> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(elements) => elements.next(),
            Self::Many(elements) => elements.next(),
        }
    }
}

impl<T: Ord> DoubleEndedIterator for Iter<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(elements) => elements.next_back(),
            Self::Many(elements) => elements.next_back(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn is_a_sorted_set(steps in prop::collection::vec((any::<bool>(), 0..24u8), 0..200)) {
            let mut model = BTreeSet::new();
            let mut set = Set::default();
            for (insert, element) in steps {
                let before = set.clone();
                let before_model = model.clone();
                if insert {
                    prop_assert_eq!(set.insert(element), model.insert(element));
                } else {
                    prop_assert_eq!(set.remove(&element), model.remove(&element));
                }
                prop_assert!(before.iter().eq(&before_model));
                prop_assert!(set.iter().eq(&model));
                prop_assert!(set.iter().rev().eq(model.iter().rev()));
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.is_empty(), model.is_empty());
                for probe in 0..25 {
                    prop_assert_eq!(set.contains(&probe), model.contains(&probe));
                    prop_assert_eq!(set.at_or_after(&probe), model.range(probe..).next());
                }
            }
        }
    }
}
