//! Replays the corpora of the fuzz targets, without a fuzzer.

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        run(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{target} has no corpus");
}

#[test]
fn hclog_line() {
    replay("hclog_line", pyplugin_fuzz::hclog_line);
}

#[test]
fn hclog_chunks() {
    replay("hclog_chunks", pyplugin_fuzz::hclog_chunks);
}

#[test]
fn handshake() {
    replay("handshake", pyplugin_fuzz::handshake);
}

#[test]
fn yamux_bytes() {
    replay("yamux_bytes", pyplugin_fuzz::yamux_bytes);
}

#[test]
fn yamux_ops() {
    replay("yamux_ops", pyplugin_fuzz::yamux_ops);
}

#[test]
fn http2_bytes() {
    replay("http2_bytes", pyplugin_fuzz::http2_bytes);
}

#[test]
fn http2_ops() {
    replay("http2_ops", pyplugin_fuzz::http2_ops);
}
