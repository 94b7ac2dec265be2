//! `warrenmq serve`: puts the broker together, runs it, and takes it apart again.
//!
//! Invariant: what fails at the start is one line on stderr and exit code 1, and leaves nothing behind: addresses are bound
//! and files are read before the data folder is touched. A stop ends with everything on disk and exit code 0.

mod args;
mod disk_watch;
mod export;
mod log;
mod machine;
mod signals;
mod spare_code;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use warrenmq_broker::{Broker, Commits, Durability, Failure, OnFailure, Options, RestoreError, definitions};
use warrenmq_server::{BindError, Listeners, Stop};
use warrenmq_store::{DataDir, DataDirError, DefinitionError, FolderDisk, SledDefinitions};

use crate::config::{self, Config, ConfigError};
use disk_watch::DiskWatch;
use export::Export;

pub(crate) use args::ServeArgs;
pub(crate) use log::parse_log_level;

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
    Restore(#[from] RestoreError),
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
    let broker = open_broker(&config, &data_dir, &stop, &failed)?;
    if let Some(before) = data_dir.upgrade()? {
        let (path, now) = (data_dir.path().display(), data_dir.format());
        tracing::info!(
            "data folder {path} has format {now} now, it was {before}; versions before this one refuse it"
        );
    }
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

fn open_broker(
    config: &Config,
    data_dir: &DataDir,
    stop: &Arc<Stop>,
    failed: &Arc<AtomicBool>,
) -> Result<Arc<Broker>, ServeError> {
    let store = SledDefinitions::open(data_dir)?;
    let on_failure = {
        let (stop, failed) = (Arc::clone(stop), Arc::clone(failed));
        move |failure: Failure| {
            tracing::error!("{failure}");
            failed.store(true, Ordering::Relaxed);
            stop.request("the disk failed");
        }
    };
    let on_failure: OnFailure = Arc::new(on_failure);
    let disk = Arc::new(FolderDisk::new(data_dir.path()));
    Ok(Broker::open(options(config)?, Box::new(store), disk, Commits::Threaded, on_failure)?)
}

fn options(config: &Config) -> io::Result<Options> {
    let cluster_name = match config.cluster_name.as_str() {
        "" => format!("warrenmq@{}", machine::host_name()),
        name => name.to_owned(),
    };
    Ok(Options {
        limits: config.limits.clone(),
        loopback_users: config.loopback_users.clone(),
        default_user: config.default_user.clone(),
        default_pass: config.default_pass.clone(),
        default_vhost: config.default_vhost.clone(),
        cluster_name,
        product: config.server_properties.product.clone(),
        version: config.server_properties.version.clone(),
        seed: machine::seed()?,
        // The clock of the server tells Unix time.
        epoch_ms: 0,
        now: machine::unix_time_ms(),
        default_queue_type: config.default_queue_type.clone(),
        durability: if config.durability == "os" { Durability::Os } else { Durability::Fsync },
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
