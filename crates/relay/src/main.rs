//! The floor that brokers are measured against: a program of one thread that turns what a publisher writes into what a
//! consumer reads with read(2) and write(2), and does nothing else a broker does. It routes nothing, keeps nothing, checks
//! nothing and has one queue, whatever its name; it understands as much AMQP as `warrenmq perf` needs to run against it with
//! one producer and one auto-ack consumer, and closes the connection of whoever asks for more.
//!
//! `warrenmq-relay [ADDRESS]` listens on ADDRESS, or on a free port of the loopback interface, prints `listens on ADDRESS`
//! and runs until it is killed.

mod control;
mod peer;
mod relay;
mod translate;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use relay::Relay;

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    match listen(&address).and_then(|mut relay| relay.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listen(address: &str) -> io::Result<Relay> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let listener = TcpListener::bind(address)?;
    println!("listens on {}", listener.local_addr()?);
    io::stdout().flush()?;
    Ok(Relay::new(listener))
}
