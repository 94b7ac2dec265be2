//! Every transcript against a broker in memory, with the client's frames whole, byte by byte and all together.

use std::path::Path;

use warrenmq_broker::Commits;
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::transcript::{Mode, Options, Peer, Target, Transcript, run_transcript};

use crate::node::Node;

#[test]
fn whole_frames() {
    run_all(Mode::Whole);
}

#[test]
fn byte_by_byte() {
    run_all(Mode::ByteByByte);
}

#[test]
fn together() {
    run_all(Mode::Together);
}

/// Each transcript has a broker of its own.
fn run_all(mode: Mode) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts");
    let transcripts = Transcript::load(&folder, "").expect("transcripts can be read");
    assert!(!transcripts.is_empty());
    let options = Options { mode, target: Target::Default };
    let mut mismatches = String::new();
    for transcript in &transcripts {
        let node = Node::open(Box::new(MemoryDefinitions::new()), Commits::Inline);
        let mut connect = |_| -> Box<dyn Peer> { Box::new(node.connect()) };
        if let Err(mismatch) = run_transcript(&transcript.text, options, &mut connect) {
            mismatches.push_str(&format!("{}.txt, {mismatch}\n", transcript.name));
        }
        assert_eq!(node.broker().connection_count(), 0, "{}.txt", transcript.name);
    }
    assert!(mismatches.is_empty(), "{mismatches}");
}
