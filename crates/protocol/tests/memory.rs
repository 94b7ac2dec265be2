//! What a peer announces costs nothing; only what it sends does.
//!
//! A program of its own, because the memory of the whole process is looked at.
#![cfg(target_os = "linux")]

#[path = "connection/host.rs"]
#[allow(dead_code)] // The other tests use all of it.
mod host;

use host::{Host, header, put_channel_open, put_frame, put_publish, settings};
use warrenmq_wire::frame;

/// Octets that are announced each time: far above what may be used.
const ANNOUNCED: u64 = 500 * 1024 * 1024;
/// Address space that all of it together may take, touched or not.
const GROWTH_KIB_MAX: u64 = 32 * 1024;

/// The largest address space that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("a line of it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn announcements_cost_nothing() {
    let mut settings = settings();
    settings.message_size_max = ANNOUNCED;
    settings.assembly_octets_max = u64::MAX;
    settings.frame_max = 0;
    let mut hosts = Vec::new();
    let before = peak_kib();
    for frame_max in [4096, 131_072, 0] {
        let mut host = Host::open(settings.clone(), frame_max, 0);
        let mut octets = Vec::new();
        for number in 1..=50 {
            put_channel_open(&mut octets, number);
            put_publish(&mut octets, number, b"k", false);
            put_frame(&mut octets, frame::HEADER, number, &header(ANNOUNCED));
            put_frame(&mut octets, frame::BODY, number, b"the first of it");
        }
        host.read(&octets);
        assert_eq!(host.notes.len(), 50, "{:?}", host.notes.last());
        assert!(host.connection.is_open());
        // A table whose length goes beyond its frame, and a frame of which only the head comes.
        octets.clear();
        put_frame(&mut octets, frame::METHOD, 51, &[0, 20, 0, 10, 0]);
        put_frame(&mut octets, frame::METHOD, 51, &[0, 50, 0, 10, 0, 0, 1, b'q', 0, 0x7F, 0xFF, 0xFF, 0xFF]);
        octets.extend_from_slice(b"\x03\x00\x01\x7F\xFF\xFF\xFF");
        host.read(&octets);
        hosts.push(host);
    }
    let growth = peak_kib() - before;
    assert!(growth <= GROWTH_KIB_MAX, "{growth} KiB more");
}
