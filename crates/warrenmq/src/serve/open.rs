//! The broker on its data folder: for `serve`, and for `ctl` when none runs.
//!
//! Invariant: the folder says that it has this program's format only after everything in it was read.

use std::io;
use std::sync::Arc;

use warrenmq_broker::{Broker, Commits, Durability, OnFailure, Options, RestoreError};
use warrenmq_store::{DataDir, DataDirError, DefinitionError, FolderDisk, SledDefinitions};

use super::machine;
use crate::config::Config;

/// Why there is no broker. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Store(#[from] DefinitionError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error("the system refused what the broker needs: {0}")]
    System(#[from] io::Error),
}

/// Opens it.
pub(crate) fn open_broker(
    config: &Config,
    data_dir: &mut DataDir,
    on_failure: OnFailure,
) -> Result<Arc<Broker>, OpenError> {
    let store = SledDefinitions::open(data_dir)?;
    let disk = Arc::new(FolderDisk::new(data_dir.path()));
    let broker = Broker::open(options(config)?, Box::new(store), disk, Commits::Threaded, on_failure)?;
    if let Some(before) = data_dir.upgrade()? {
        let (path, now) = (data_dir.path().display(), data_dir.format());
        tracing::info!(
            "data folder {path} has format {now} now, it was {before}; versions before this one refuse it"
        );
    }
    Ok(broker)
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
