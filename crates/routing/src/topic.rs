//! The index of a topic exchange: a trie of words. Keys are split at dots; `*` in a binding key stands for
//! one word, `#` for any number of words. Words may be empty (`a..b` has three) and an empty key has none
//! at all, so that `#` matches it and `*` does not (`rabbit_db_topic_exchange`).
//!
//! Matching walks all positions of the trie side by side, word by word. A position is kept once, so the
//! work is bounded by the words of the key times the nodes that can match, however many `#` there are.

use crate::Map;
use crate::binding::Target;
use crate::set::Set;
use smallvec::SmallVec;
use std::sync::Arc;

/// Destinations by binding key, as a trie whose root is the empty key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topic {
    root: Arc<Node>,
}

impl Topic {
    pub(crate) fn insert(&mut self, key: &[u8], target: Target) {
        let mut node = Arc::make_mut(&mut self.root);
        for word in words(key) {
            node = Arc::make_mut(node.child_or_new(word));
        }
        node.targets.insert(target);
    }

    pub(crate) fn remove(&mut self, key: &[u8], target: &Target) {
        let Some(kept) = self.nodes_kept(key, target) else { return };
        let mut node = Arc::make_mut(&mut self.root);
        for (index, word) in words(key).enumerate() {
            if index == kept {
                node.cut(word);
                return;
            }
            let Some(child) = node.child_mut(word) else { return };
            node = Arc::make_mut(child);
        }
        node.targets.remove(target);
    }

    /// Calls `visit` with the destinations of every binding key that matches; a destination may come twice.
    pub(crate) fn matches<'a>(&'a self, key: &[u8], mut visit: impl FnMut(&'a Target)) {
        let mut positions = Positions::new();
        let mut next = Positions::new();
        enter(&self.root, &mut positions);
        for word in words(key) {
            for &Position { node, repeats } in &positions {
                if repeats {
                    next.push(Position { node, repeats });
                }
                for child in [node.words.get(word), node.one.as_ref()].into_iter().flatten() {
                    enter(child, &mut next);
                }
            }
            if next.len() > 1 {
                next.sort_unstable_by_key(|position| std::ptr::from_ref(position.node));
                next.dedup_by_key(|position| std::ptr::from_ref(position.node));
            }
            std::mem::swap(&mut positions, &mut next);
            next.clear();
        }
        positions.iter().flat_map(|position| position.node.targets.iter()).for_each(&mut visit);
    }

    /// How many edges of the path of `key` are still needed when `target` is gone from its end: the edge
    /// after them is to be cut. `None` if the key is not there.
    fn nodes_kept(&self, key: &[u8], target: &Target) -> Option<usize> {
        let mut node = &self.root;
        let (mut kept, mut edges) = (0, 0);
        for word in words(key) {
            if node.uses() > 1 {
                kept = edges;
            }
            node = node.child(word)?;
            edges += 1;
        }
        let alone = node.targets.len() == 1 && node.targets.contains(target);
        Some(if alone && node.uses() == 1 { kept } else { edges })
    }
}

/// A word of a binding key and all keys that go on from there.
#[derive(Debug, Clone, Default)]
struct Node {
    words: Words,
    /// The way on after a `*`.
    one: Option<Arc<Node>>,
    /// The way on after a `#`.
    any: Option<Arc<Node>>,
    /// The destinations of the key that ends here.
    targets: Set<Target>,
}

impl Node {
    fn child(&self, word: &[u8]) -> Option<&Arc<Self>> {
        match word {
            b"*" => self.one.as_ref(),
            b"#" => self.any.as_ref(),
            _ => self.words.get(word),
        }
    }

    fn child_mut(&mut self, word: &[u8]) -> Option<&mut Arc<Self>> {
        match word {
            b"*" => self.one.as_mut(),
            b"#" => self.any.as_mut(),
            _ => self.words.get_mut(word),
        }
    }

    fn child_or_new(&mut self, word: &[u8]) -> &mut Arc<Self> {
        match word {
            b"*" => self.one.get_or_insert_default(),
            b"#" => self.any.get_or_insert_default(),
            _ => self.words.get_or_new(word),
        }
    }

    fn cut(&mut self, word: &[u8]) {
        match word {
            b"*" => self.one = None,
            b"#" => self.any = None,
            _ => self.words.remove(word),
        }
    }

    /// Ways on, and one for destinations: a node without any is not in a trie, except for the root.
    fn uses(&self) -> usize {
        self.words.len()
            + usize::from(self.one.is_some())
            + usize::from(self.any.is_some())
            + usize::from(!self.targets.is_empty())
    }
}

/// The ways on after a word that is not a wildcard. Most nodes have one, which is not worth a map.
#[derive(Debug, Clone, Default)]
struct Words {
    /// Not in `more`.
    first: Option<(Arc<[u8]>, Arc<Node>)>,
    more: Map<Arc<[u8]>, Arc<Node>>,
}

impl Words {
    fn get(&self, word: &[u8]) -> Option<&Arc<Node>> {
        match &self.first {
            Some((first, node)) if **first == *word => Some(node),
            _ => self.more.get(word),
        }
    }

    fn get_mut(&mut self, word: &[u8]) -> Option<&mut Arc<Node>> {
        match &mut self.first {
            Some((first, node)) if **first == *word => Some(node),
            _ => self.more.get_mut(word),
        }
    }

    fn get_or_new(&mut self, word: &[u8]) -> &mut Arc<Node> {
        let is_first = match &self.first {
            Some((first, _)) => **first == *word,
            None => !self.more.contains_key(word),
        };
        if is_first {
            &mut self.first.get_or_insert_with(|| (word.into(), Arc::default())).1
        } else {
            self.more.entry(word.into()).or_default()
        }
    }

    fn remove(&mut self, word: &[u8]) {
        if self.first.take_if(|(first, _)| **first == *word).is_none() {
            self.more.remove(word);
        }
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }
}

/// A node that the words read so far lead to.
struct Position<'a> {
    node: &'a Node,
    /// The node comes after a `#`, which may take the next word too.
    repeats: bool,
}

type Positions<'a> = SmallVec<[Position<'a>; 16]>;

/// Adds a node, and those behind it that need no word because a `#` leads to them.
fn enter<'a>(node: &'a Node, positions: &mut Positions<'a>) {
    positions.push(Position { node, repeats: false });
    let mut node = node;
    while let Some(after) = &node.any {
        positions.push(Position { node: after, repeats: true });
        node = after;
    }
}

/// The words of a routing or binding key.
fn words(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let limit = if key.is_empty() { 0 } else { usize::MAX };
    key.split(|&octet| octet == b'.').take(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::QueueId;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Binding key, keys that match, keys that do not; as RabbitMQ answered.
    const CASES: [(&str, &[&str], &[&str]); 16] = [
        ("", &[""], &["a", "."]),
        ("a", &["a"], &["", "a.", ".a", "a.a", "b"]),
        ("*", &["a", "*", "#"], &["", ".", "a.b"]),
        ("#", &["", ".", "a", "a.b", "..."], &[]),
        (".", &["."], &["", "a", "..", "a."]),
        ("a.", &["a."], &["a", "a.b", ".a"]),
        ("*.", &["a.", "."], &["", "a", "a.b"]),
        ("*.*", &["a.b", ".", "a."], &["", "a", "a.b.c"]),
        ("#.#", &["", "a", "a.b", "."], &[]),
        ("*.#", &["a", "a.b", "a.b.c", "."], &[""]),
        ("#.*", &["a", "a.b", "a.b.c", "."], &[""]),
        ("a.#", &["a", "a.", "a.b.c"], &["", "b", "b.a", "aa"]),
        ("#.a", &["a", ".a", "b.b.a", "a.a"], &["", "a.b", "aa"]),
        ("a.#.a", &["a.a", "a.b.a", "a.a.a", "a..a"], &["a", "a.b", "b.a"]),
        ("#.a.#.b.#", &["a.b", "b.a.a.c.b.c"], &["b.a", "", "a"]),
        ("a*.#b", &["a*.#b"], &["ab.b", "a.b", "a*.b"]),
    ];

    #[test]
    fn cases() {
        for (pattern, hits, misses) in CASES {
            let mut topic = Topic::default();
            topic.insert(pattern.as_bytes(), queue(1));
            for (keys, expected) in [(hits, 1), (misses, 0)] {
                for key in keys {
                    assert_eq!(found(&topic, key.as_bytes()).len(), expected, "{pattern:?} {key:?}");
                }
            }
        }
    }

    #[test]
    fn many_hashes_cost_no_more_than_nodes_times_words() {
        let mut topic = Topic::default();
        for (id, words) in (0..60).enumerate() {
            topic.insert("#.a.".repeat(words).as_bytes(), queue(id as u64));
            topic.insert("#.*.".repeat(words).as_bytes(), queue(id as u64));
        }
        let mut visits = 0;
        topic.matches("a.".repeat(127).as_bytes(), |_| visits += 1);
        assert!(visits <= 120, "{visits}");
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_matcher(
            steps in prop::collection::vec((0..4u8, key(&["a", "b", "", "*", "#"]), 0..3u64), 1..60),
            keys in prop::collection::vec(key(&["a", "b", "", "*", "#"]), 8),
        ) {
            let mut topic = Topic::default();
            let mut model = BTreeSet::new();
            for (step, pattern, id) in steps {
                if step > 0 {
                    topic.insert(&pattern, queue(id));
                    model.insert((pattern, id));
                } else {
                    let victim = model.range((pattern.clone(), id)..).next().cloned().unwrap_or((pattern, id));
                    topic.remove(&victim.0, &queue(victim.1));
                    model.remove(&victim);
                }
                for key in &keys {
                    let matching = model.iter().filter(|(pattern, _)| naive(&list(pattern), &list(key)));
                    let expected: BTreeSet<_> = matching.map(|(_, id)| queue(*id)).collect();
                    prop_assert_eq!(found(&topic, key), expected);
                }
            }
            for (pattern, id) in model {
                topic.remove(&pattern, &queue(id));
            }
            prop_assert_eq!(topic.root.uses(), 0, "nothing is left behind");
        }
    }

    fn key(words: &'static [&str]) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(words), 0..6)
            .prop_map(|words| words.join(".").into_bytes())
    }

    fn queue(id: u64) -> Target {
        Target::Queue(QueueId(id))
    }

    fn found(topic: &Topic, key: &[u8]) -> BTreeSet<Target> {
        let mut found = BTreeSet::new();
        topic.matches(key, |target| {
            found.insert(target.clone());
        });
        found
    }

    fn list(key: &[u8]) -> Vec<&[u8]> {
        words(key).collect()
    }

    fn naive(pattern: &[&[u8]], key: &[&[u8]]) -> bool {
        match (pattern, key) {
            ([], key) => key.is_empty(),
            ([b"#", rest @ ..], []) => naive(rest, key),
            ([b"#", rest @ ..], [_, others @ ..]) => naive(rest, key) || naive(pattern, others),
            ([first, rest @ ..], [word, others @ ..]) => {
                (*first == b"*" || first == word) && naive(rest, others)
            }
            _ => false,
        }
    }
}
