//! `cargo xtask record`: what real clients say to a broker in the test `session` of their suite in `interop/`, as transcripts in
//! `tests/transcripts/clients`. The broker is best a RabbitMQ: then its answers are what ours are held to.

use std::fs;
use std::io;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use clap::Args;
use warrenmq_testkit::transcript::{Recorder, Said, Side, properties_of, transcript_of};

use crate::command;

/// How long a suite may run for its one test, its installations included.
const SESSION_TIME_MAX: Duration = Duration::from_secs(8 * 60);
/// After its end, until the last octets have passed the recorder.
const REST: Duration = Duration::from_millis(300);

/// A client: the name of its transcript, the folder of its suite, and what its test is called there.
const CLIENTS: [(&str, &str, &str); 11] = [
    ("aio-pika", "python", "session_aio_pika"),
    ("amqp091-go", "go", "TestSession"),
    ("amqplib", "node", "session"),
    ("amqprs", "rust", "on_amqprs::session"),
    ("bunny", "ruby", "session"),
    ("java", "java", "Session"),
    ("lapin", "rust", "on_lapin::session"),
    ("php-amqplib", "php", "session"),
    ("pika", "python", "session_pika"),
    ("py-amqp", "python", "session_py_amqp"),
    ("rabbitmq-c", "c", "session"),
];

/// Which clients, and what they talk to.
#[derive(Args)]
pub(crate) struct Selection {
    /// The broker.
    #[arg(long, value_name = "HOST:PORT")]
    against: String,
    /// Only clients whose names contain this.
    #[arg(default_value = "")]
    filter: String,
}

/// Records each; true when all are written.
pub(crate) fn run(root: &Path, selection: &Selection) -> bool {
    let mut success = true;
    for (name, folder, test) in CLIENTS.into_iter().filter(|(name, ..)| name.contains(&selection.filter)) {
        if let Err(error) = record(root, selection, name, folder, test) {
            println!("{name}: {error}");
            success = false;
        }
    }
    success
}

fn record(root: &Path, selection: &Selection, name: &str, folder: &str, test: &str) -> io::Result<()> {
    let unknown = || io::Error::other(format!("{} is not an address", selection.against));
    let broker = selection.against.to_socket_addrs()?.next().ok_or_else(unknown)?;
    let recorder = Recorder::start(broker)?;
    let port = recorder.address().port().to_string();
    let mut command = Command::new(root.join("interop").join(folder).join("run"));
    command.args(["127.0.0.1", &port, test]);
    if !command::succeeds_with_lines(&mut command, Some(SESSION_TIME_MAX), &mut |_| ()) {
        return Err(io::Error::other("its session has failed"));
    }
    thread::sleep(REST);
    let said = recorder.finish();
    let lines = transcript_of(&said).map_err(io::Error::other)?;
    let head = format!(
        "# A session of {name} ({}) with {}: the test `{test}` of interop/{folder}, by `cargo xtask record`\n",
        who(&said, Side::Client),
        who(&said, Side::Server)
    );
    let path = root.join("tests/transcripts/clients").join(name).with_extension("txt");
    fs::create_dir_all(path.parent().unwrap_or(root))?;
    fs::write(&path, head + &lines)?;
    println!("{} is written", path.display());
    Ok(())
}

/// Product and version; py-amqp calls the latter otherwise.
fn who(said: &[Said], side: Side) -> String {
    let properties = properties_of(said, side);
    let property = |names: &[&str]| {
        names.iter().find_map(|name| properties.get(*name)).map_or("of no name", String::as_str)
    };
    format!("{} {}", property(&["product"]), property(&["version", "product_version"]))
}
