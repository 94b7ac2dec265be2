//! Whose step comes next, where many scripts are played at once: only a few steps at a time, and first those of scripts that are a
//! matter of time. Such scripts wait most of their life, so that few of them want a step at once; the others fill the rest.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// How many steps there may be at once. Clones share their turns.
#[derive(Debug, Clone)]
pub struct Turns {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Scripts that are a matter of time and wait for their turn.
    urgent: usize,
}

/// A step that may be taken; dropping it lets another one go.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
}

impl Turns {
    /// So many steps at once.
    #[must_use]
    pub fn new(steps: usize) -> Self {
        let state = State { free: steps.max(1), urgent: 0 };
        Turns { shared: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    /// Waits for a turn.
    pub(crate) fn take(&self, is_urgent: bool) -> Turn<'_> {
        let mut state = self.state();
        state.urgent += usize::from(is_urgent);
        while state.free == 0 || !is_urgent && state.urgent > 0 {
            state = self.shared.1.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        state.urgent -= usize::from(is_urgent);
        state.free -= 1;
        Turn { turns: self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.state().free += 1;
        self.turns.shared.1.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn what_is_urgent_goes_first() {
        let turns = Turns::new(1);
        let first = turns.take(false);
        let (order, taken) = mpsc::channel();
        thread::scope(|scope| {
            for is_urgent in [false, true] {
                let (turns, order) = (turns.clone(), order.clone());
                scope.spawn(move || {
                    let _turn = turns.take(is_urgent);
                    order.send(is_urgent).unwrap();
                });
            }
            while turns.state().urgent == 0 {
                thread::yield_now();
            }
            drop(first);
        });
        assert_eq!(taken.try_iter().collect::<Vec<_>>(), [true, false]);
    }
}
