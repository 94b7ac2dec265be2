//! Walks through every way in which a program can choose.
//!
//! Invariant: two runs never make the same choices, and no sequence of choices is left out as long as the program depends on
//! nothing else.

/// The choices of one run, made again with the last one changed in the next run.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    /// What was chosen, out of how many.
    made: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    /// A number below `count`, which must be at least 1.
    pub(crate) fn choose(&mut self, count: usize) -> usize {
        if self.next == self.made.len() {
            self.made.push((0, count));
        }
        let (chosen, of) = self.made[self.next];
        assert_eq!(of, count, "the same choices lead to the same questions");
        self.next += 1;
        chosen
    }

    /// Goes on to the next run; says if there is one.
    fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((chosen, of)) = self.made.pop() {
            if chosen + 1 < of {
                self.made.push((chosen + 1, of));
                return true;
            }
        }
        false
    }
}

/// Runs `program` with every sequence of choices; returns how many there were.
pub(crate) fn exhaust(mut program: impl FnMut(&mut Choices)) -> u64 {
    let mut choices = Choices::default();
    let mut runs = 0;
    loop {
        program(&mut choices);
        runs += 1;
        if !choices.advance() {
            return runs;
        }
    }
}

#[test]
fn every_sequence_comes_once() {
    let mut seen = Vec::new();
    let runs = exhaust(|choices| {
        let mut word = vec![choices.choose(3)];
        for _ in 0..word[0] {
            word.push(choices.choose(2));
        }
        seen.push(word);
    });
    let expected: [&[usize]; 7] = [&[0], &[1, 0], &[1, 1], &[2, 0, 0], &[2, 0, 1], &[2, 1, 0], &[2, 1, 1]];
    assert_eq!((runs, seen), (7, expected.map(<[usize]>::to_vec).to_vec()));
}
