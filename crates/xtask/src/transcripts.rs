//! `cargo xtask transcripts`: the transcripts against a broker that runs already, ours or another, to learn where they differ.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use clap::Args;
use warrenmq_testkit::transcript::{Mode, Options, Outcome, Peer, Target, TcpPeer, Transcript};

use crate::tally::Tally;

/// Which transcripts run, and against which broker.
#[derive(Args)]
pub(crate) struct Selection {
    /// The broker; its user guest must be allowed to do everything in the vhost `/`.
    #[arg(long, value_name = "HOST:PORT")]
    against: String,
    /// The broker is RabbitMQ 3.10: lines marked `[3.10]` count.
    #[arg(long = "rabbitmq-3.10")]
    rabbitmq_3_10: bool,
    /// Hand each byte over by itself.
    #[arg(long)]
    byte_by_byte: bool,
    /// Run only transcripts whose name contains this.
    #[arg(default_value = "")]
    filter: String,
}

/// Runs them and prints each mismatch; true when there is none.
pub(crate) fn run(root: &Path, selection: &Selection) -> bool {
    match run_all(root, selection) {
        Ok(tally) => {
            println!("{tally}");
            tally.failed == 0
        }
        Err(error) => {
            println!("{error}");
            false
        }
    }
}

fn run_all(root: &Path, selection: &Selection) -> std::io::Result<Tally> {
    let address = address(&selection.against)?;
    // Later connections are made by the transcripts: the first is tried here, for a clear word when there is no broker.
    TcpPeer::connect(address)?;
    let mut connect =
        |_| -> Box<dyn Peer> { Box::new(TcpPeer::connect(address).expect("the broker accepts")) };
    let options = Options {
        mode: if selection.byte_by_byte { Mode::ByteByByte } else { Mode::Whole },
        target: if selection.rabbitmq_3_10 { Target::RabbitMq310 } else { Target::Default },
    };
    let mut tally = Tally::default();
    for transcript in Transcript::load(&root.join("tests/transcripts"), &selection.filter)? {
        tally += match transcript.run(options, &mut connect) {
            Ok(Outcome::Passed) => Tally::of(true),
            Ok(Outcome::Skipped(reason)) => {
                println!("skipped {}: {reason}", transcript.name);
                Tally::skipped()
            }
            Err(mismatch) => {
                println!("failed {}.txt, {mismatch}", transcript.name);
                Tally::of(false)
            }
        };
    }
    Ok(tally)
}

fn address(text: &str) -> std::io::Result<SocketAddr> {
    let unknown = || std::io::Error::other(format!("{text} is not an address"));
    text.to_socket_addrs()?.next().ok_or_else(unknown)
}
