//! Every transcript over TCP against the binary, with the client's frames whole, byte by byte and all together.

use warrenmq_testkit::transcript::{Mode, Options, Peer, Target, TcpPeer, Transcript};
use warrenmq_tests::{start_broker, transcripts_folder};

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

fn run_all(mode: Mode) {
    let (broker, home) = start_broker();
    let options = Options { mode, target: Target::Default };
    let mut connect =
        |_| -> Box<dyn Peer> { Box::new(TcpPeer::connect(broker.address()).expect("the broker accepts")) };
    let transcripts = Transcript::load(&transcripts_folder(), "").expect("transcripts can be read");
    assert!(!transcripts.is_empty());
    let mut mismatches = String::new();
    for transcript in &transcripts {
        if let Err(mismatch) = transcript.run(options, &mut connect) {
            mismatches.push_str(&format!("{}.txt, {mismatch}\n", transcript.name));
        }
    }
    assert!(mismatches.is_empty(), "{mismatches}the broker's output ends with:\n{}", home.log_tail());
}
