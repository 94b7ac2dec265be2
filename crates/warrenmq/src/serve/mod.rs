//! `warrenmq serve`: puts the broker together, runs it, and takes it apart again.
//!
//! Invariant: what fails at the start is one line on stderr and exit code 1, and leaves nothing behind: addresses are bound
//! and files are read before the data folder is touched. A stop ends with everything on disk and exit code 0.

mod args;
mod control;
mod disk_watch;
mod export;
mod log;
mod machine;
mod open;
mod signals;
mod spare_code;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use warrenmq_broker::{Broker, Failure, OnFailure, RestoreError, definitions};
use warrenmq_server::{BindError, Listeners, Stop};
use warrenmq_store::{DataDir, DataDirError, DefinitionError};

use crate::config::{self, Config, ConfigError};
use control::Control;
use disk_watch::DiskWatch;
use export::Export;

pub(crate) use args::ServeArgs;
pub(crate) use export::write as write_copy;
pub(crate) use log::parse_log_level;
pub(crate) use machine::unix_time_ms;
pub(crate) use open::{OpenError, open_broker};

/// Why the broker did not start, or did not end well. `Display` is one line.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("definitions file {} cannot be read: {source}", path.display())]
    DefinitionsFile { path: PathBuf, source: io::Error },
    #[error("definitions file {}: {source}", path.display())]
    Definitions { path: PathBuf, source: RestoreError },
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Store(#[from] DefinitionError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the system refused what the broker needs: {0}")]
    System(#[from] io::Error),
    #[error("stopped because the disk failed; the log says how")]
    Failed,
    #[error(transparent)]
    Close(#[from] Failure),
}

/// Runs the broker until it is asked to stop.
pub(crate) fn run(args: ServeArgs) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without anybody to read it, the exit code is all that can be told.
            let _ = writeln!(io::stderr(), "warrenmq: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: ServeArgs) -> Result<(), ServeError> {
    let started = Instant::now();
    let config = config::load(args.into_overrides(), std::env::vars_os())?;
    start_log(&config);
    machine::raise_open_files();
    let stop = Arc::new(Stop::new());
    signals::listen(Arc::clone(&stop))?;

    let listeners = bind(&config.listen, Listeners::bind)?;
    let json = read_definitions(&config)?;
    let mut data_dir = DataDir::open(&config.data_dir)?;
    let failed = Arc::new(AtomicBool::new(false));
    let broker = open_broker(&config, &mut data_dir, on_failure(&stop, &failed))?;
    if let Some((path, json)) = json {
        let loaded = broker.load_definitions(&json, machine::unix_time_ms());
        if failed.load(Ordering::Relaxed) {
            return Err(ServeError::Failed);
        }
        for warning in loaded.map_err(|source| ServeError::Definitions { path, source })? {
            tracing::warn!("definitions: {warning}");
        }
    }
    let settled = broker.settle();
    if failed.load(Ordering::Relaxed) {
        return Err(ServeError::Failed);
    }
    settled?;

    let ready = ready_line(&listeners, &data_dir);
    let limit = config.disk_free_limit.octets();
    let watch = DiskWatch::start(Arc::clone(&broker), data_dir.path(), limit)?;
    let control = start_control(&broker, &data_dir);
    let export = Export::start(Arc::clone(&broker), data_dir)?;
    let workers = Some(usize::from(config.workers)).filter(|workers| *workers > 0);
    let on_ready = || {
        spare_code::give_back();
        announce(&ready, started);
    };
    let report = warrenmq_server::run(
        listeners,
        Arc::clone(&broker),
        workers.unwrap_or_else(machine::processors),
        on_ready,
        &stop,
    )?;
    if report.cut_connections > 0 {
        tracing::warn!("{} connections did not close in time and were cut", report.cut_connections);
    }

    if let Some(control) = control {
        control.finish();
    }
    watch.finish();
    // The lock on the folder is given back last.
    let closed = broker.close();
    drop(export.finish());
    if failed.load(Ordering::Relaxed) {
        return Err(ServeError::Failed);
    }
    closed?;
    tracing::info!("stopped");
    Ok(())
}

fn start_log(config: &Config) {
    let levels = parse_log_level(&config.log).expect("invariant: the configuration was checked");
    log::start(levels);
    for variable in config::unknown_variables(std::env::vars_os().map(|(name, _)| name)) {
        tracing::warn!("environment variable {variable} is none of this program's and has no effect");
    }
}

/// Binds all addresses. On a machine without IPv6, `[::]` beside `0.0.0.0` on the same port is left out.
fn bind<T>(
    addresses: &[SocketAddr],
    bind: impl Fn(&[SocketAddr]) -> Result<T, BindError>,
) -> Result<T, BindError> {
    let error = match bind(addresses) {
        Err(error) if error.is_unsupported() => error,
        result => return result,
    };
    let has_twin = |address: &SocketAddr| {
        let twin = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
        address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && addresses.contains(&twin)
    };
    let left: Vec<SocketAddr> = addresses.iter().copied().filter(|address| !has_twin(address)).collect();
    if left.len() == addresses.len() {
        return Err(error);
    }
    tracing::info!("this machine has no IPv6, listening on IPv4 alone");
    bind(&left)
}

/// The definitions file, found to be one.
fn read_definitions(config: &Config) -> Result<Option<(PathBuf, Vec<u8>)>, ServeError> {
    let Some(path) = config.definitions_file() else { return Ok(None) };
    let path = path.to_owned();
    let json = match std::fs::read(&path) {
        Ok(json) => json,
        Err(source) => return Err(ServeError::DefinitionsFile { path, source }),
    };
    match definitions::import(&json) {
        Ok(_) => Ok(Some((path, json))),
        Err(error) => Err(ServeError::Definitions { path, source: error.into() }),
    }
}

/// A broker serves its clients also where it cannot be controlled.
fn start_control(broker: &Arc<Broker>, data_dir: &DataDir) -> Option<Control> {
    match Control::start(Arc::clone(broker), data_dir.path()) {
        Ok(control) => Some(control),
        Err(error) => {
            tracing::warn!(
                "no control socket, `warrenmq ctl` works only when the broker has stopped: {error}"
            );
            None
        }
    }
}

/// Called when the disk has failed: the broker stops, and says so at its end.
fn on_failure(stop: &Arc<Stop>, failed: &Arc<AtomicBool>) -> OnFailure {
    let (stop, failed) = (Arc::clone(stop), Arc::clone(failed));
    Arc::new(move |failure: Failure| {
        tracing::error!("{failure}");
        failed.store(true, Ordering::Relaxed);
        stop.request("the disk failed");
    })
}

fn ready_line(listeners: &Listeners, data_dir: &DataDir) -> String {
    let addresses: Vec<String> = listeners.addresses().iter().map(SocketAddr::to_string).collect();
    let (version, folder) = (env!("CARGO_PKG_VERSION"), data_dir.path().display());
    format!("WarrenMQ {version} is ready: AMQP 0-9-1 on {}; data in {folder}", addresses.join(", "))
}

/// Tells whoever waits for it. Nobody may be reading: then there is nobody to tell.
fn announce(ready: &str, started: Instant) {
    let line = format!("{ready}; started in {} ms\n", started.elapsed().as_millis());
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
        tracing::debug!("stdout: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EAFNOSUPPORT.
    const NO_IPV6: i32 = 97;

    #[test]
    fn a_machine_without_ipv6_listens_on_ipv4() {
        let cases: [(&[&str], Option<&[&str]>); 5] = [
            (&["0.0.0.0:5672", "[::]:5672"], Some(&["0.0.0.0:5672"])),
            (&["127.0.0.1:1", "[::]:2", "0.0.0.0:2"], Some(&["127.0.0.1:1", "0.0.0.0:2"])),
            (&["0.0.0.0:5672", "[::]:5673"], None),
            (&["[::]:5672"], None),
            (&["0.0.0.0:5672", "[::]:5672", "[::1]:1"], None),
        ];
        for (asked, expected) in cases {
            let bound = bind(&addresses(asked), |addresses| match addresses.iter().find(|a| a.is_ipv6()) {
                Some(&address) => {
                    Err(BindError::Failed { address, error: io::Error::from_raw_os_error(NO_IPV6) })
                }
                None => Ok(addresses.to_vec()),
            });
            assert_eq!(bound.ok(), expected.map(addresses), "{asked:?}");
        }
    }

    #[test]
    fn an_address_that_is_taken_is_not_left_out() {
        let asked = addresses(&["0.0.0.0:5672", "[::]:5672"]);
        let bound: Result<(), BindError> =
            bind(&asked, |addresses| Err(BindError::InUse { address: addresses[1] }));
        assert!(matches!(bound, Err(BindError::InUse { .. })));
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }
}
