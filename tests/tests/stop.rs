//! The end of a broker: at SIGTERM clients are told, the process ends with 0 in time, and another one can start on its data.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use warrenmq_testkit::transcript::{Arrival, Mismatch, Options, Outcome, Peer, TcpPeer, run_transcript};
use warrenmq_tests::{restart_broker, start_broker};

/// How long a broker may take to end.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

#[test]
fn clients_are_told_and_the_process_ends_in_time() {
    let transcript = "
        open
        C channel.open 1
        S channel.open-ok 1
        C queue.declare 1 queue=stop
        S queue.declare-ok 1 queue=stop
        C basic.consume 1 queue=stop consumer-tag=c
        S basic.consume-ok 1 c
        S connection.close 0 320 \"CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'\"
        C connection.close-ok 0
        S <close>";
    let (broker, home) = start_broker();
    let address = broker.address();
    let (ready, is_ready) = mpsc::channel();
    let client = thread::spawn(move || run(transcript, address, ready));
    is_ready.recv().expect("the client has got as far as its consumer");
    let status = broker.stop(STOP_TIME_MAX).expect("the broker ends in time");
    assert!(status.success(), "{status}; its output ends with:\n{}", home.log_tail());
    assert_eq!(client.join().expect("the client does not panic"), Ok(Outcome::Passed));
    let again = restart_broker(&home);
    assert!(again.stop(STOP_TIME_MAX).expect("the broker ends in time").success());
}

#[test]
fn a_client_that_does_not_answer_holds_nothing_up() {
    let (broker, home) = start_broker();
    let mut silent = TcpPeer::connect(broker.address()).expect("the broker accepts");
    silent.send(b"AMQP\x00\x00\x09\x01");
    assert!(matches!(silent.receive(STOP_TIME_MAX), Arrival::Bytes(_)), "connection.start");
    let status = broker.stop(STOP_TIME_MAX).expect("the broker ends in time");
    assert!(status.success(), "{status}; its output ends with:\n{}", home.log_tail());
}

/// Runs a transcript whose client says so when it begins to wait for the close.
fn run(transcript: &str, address: SocketAddr, ready: mpsc::Sender<()>) -> Result<Outcome, Mismatch> {
    let mut connect = |_| -> Box<dyn Peer> {
        let peer = TcpPeer::connect(address).expect("the broker accepts");
        Box::new(Announcing { peer, ready: ready.clone() })
    };
    run_transcript(transcript, Options::default(), &mut connect)
}

/// A client that announces the answer to its basic.consume.
struct Announcing {
    peer: TcpPeer,
    ready: mpsc::Sender<()>,
}

impl Peer for Announcing {
    fn send(&mut self, bytes: &[u8]) {
        self.peer.send(bytes);
    }

    fn receive(&mut self, timeout: Duration) -> Arrival {
        let arrival = self.peer.receive(timeout);
        if let Arrival::Bytes(bytes) = &arrival
            && bytes.windows(4).any(|ids| ids == [0, 60, 0, 21])
        {
            // Nobody listens any more once the broker is being stopped.
            let _ = self.ready.send(());
        }
        arrival
    }
}
