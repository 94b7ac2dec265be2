//! A write that fails ends the process with a message that says what to do, and nothing that was confirmed is lost when it has
//! been done.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use warrenmq_testkit::process::{BrokerHome, BrokerProcess};
use warrenmq_tests::{binary, publish_numbered, restart_broker, take_numbered, wait_until};

/// The broker ended, and said on its way what had failed.
#[track_caller]
fn assert_ended(mut broker: BrokerProcess, home: &BrokerHome, reasons: &[&str]) {
    wait_until("the process ends", || !broker.is_running().expect("the system knows its processes"));
    let log = home.log();
    for reason in reasons {
        assert!(log.contains(reason), "{log}\nwithout: {reason}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_file_that_may_not_grow_loses_nothing_that_was_confirmed() {
    const OCTETS_MAX: u32 = 4 << 20;
    let home = BrokerHome::new().expect("a temporary folder can be made");
    let text = "[limits]\njournal_file_octets = 1048576\nsegment_file_octets = 1048576\n";
    let file = home.write_file("warrenmq.toml", text).expect("a configuration can be written");
    // Without the signal, the write itself fails. The unit is 512 octets in POSIX and 1024 in some shells.
    let script = format!(
        "#!/bin/sh\ntrap '' XFSZ\nulimit -f {}\nexec '{}' \"$@\"\n",
        OCTETS_MAX / 1024,
        binary().display()
    );
    let script = home.write_file("broker", &script).expect("a script can be written");
    fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("a script can be made to run");
    let arguments = ["--config".as_ref(), file.as_os_str()];
    let broker = BrokerProcess::start(&script, &home, arguments).expect("the broker starts");

    assert_eq!(publish_numbered(broker.address(), "q", 0, 200, 2000), (200, None));
    // A record is never cut in two, so this one needs a file of its own.
    let (confirmed, end) = publish_numbered(broker.address(), "q", 200, 1, 2 * OCTETS_MAX as usize);
    assert_eq!(confirmed, 0, "what could not be written is not confirmed");
    assert!(end.is_some(), "the connection ends");
    assert_ended(broker, &home, &["failed: ", "raise the limit of file sizes (ulimit -f), then start again"]);

    let broker = restart_broker(&home);
    let there = take_numbered(broker.address(), "q");
    assert_eq!(there[..200], (0..200).collect::<Vec<_>>());
    assert!(there.len() <= 201, "{there:?}");
}

/// A file system in memory; unmounted on drop.
struct Mount(PathBuf);

impl Mount {
    /// `None` when this process may not mount.
    fn new(folder: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(folder).expect("a folder can be made");
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Mount(folder.to_owned()))
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        let grown = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(grown.is_ok_and(|status| status.success()), "what could be mounted can be mounted again");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a broker of a failed test may still be there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_confirmed() {
    let home = BrokerHome::new().expect("a temporary folder can be made");
    let Some(mount) = Mount::new(&home.data_dir(), "24m") else {
        eprintln!("skipped: this process may not mount a file system");
        return;
    };
    let text = "disk_free_limit = 0\n[limits]\njournal_file_octets = 4194304\n";
    let file = home.write_file("warrenmq.toml", text).expect("a configuration can be written");
    let arguments = ["--config".as_ref(), file.as_os_str()];
    let broker = BrokerProcess::start(binary(), &home, arguments).expect("the broker starts");
    let (confirmed, end) = publish_numbered(broker.address(), "q", 0, 10_000, 20_000);
    assert!(end.is_some() && confirmed > 100, "{confirmed} messages of 20 kB on 24 MiB, then {end:?}");
    assert_ended(broker, &home, &["failed: ", "make room, then start again"]);

    mount.grow("256m");
    let broker = BrokerProcess::start(binary(), &home, arguments).expect("the broker starts");
    let there = take_numbered(broker.address(), "q");
    let in_order = (0..there.len() as u64).collect::<Vec<_>>();
    assert!(there.len() as u64 >= confirmed, "{} of {confirmed} are there", there.len());
    assert_eq!(there, in_order);
    // It goes on as if nothing had been.
    assert_eq!(publish_numbered(broker.address(), "q", 0, 100, 20_000), (100, None));
    broker.kill().expect("a process can be killed");
    let broker = BrokerProcess::start(binary(), &home, arguments).expect("the broker starts");
    assert!(take_numbered(broker.address(), "q").ends_with(&(0..100).collect::<Vec<_>>()));
    drop(broker);
}
