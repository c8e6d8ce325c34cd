//! Measures the header scan, which every datagram passes: a frame of 15 kB with and without a label, and datagrams that
//! are not frames.

#![allow(
    missing_docs,
    reason = "criterion's macros write functions without any"
)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use protocol::datagram::{REQUEST, classify};
use protocol::label::{Label, StreamId};
use testkit::jpeg::Sketch;

fn classes(criterion: &mut Criterion) {
    let plain = frame();
    let labelled = label().write(&plain);
    let torn = plain[..plain.len() / 2].to_vec();
    let mut group = criterion.benchmark_group("classify");
    for (name, bytes) in [
        ("15 kB frame", Bytes::copy_from_slice(&plain)),
        ("15 kB frame with label", labelled.into()),
        ("torn frame", torn.into()),
        ("Request", Bytes::from_static(REQUEST)),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| classify(black_box(bytes.clone())).is_ok())
        });
    }
    group.bench_function("writing a label", |bencher| {
        let label = label();
        bencher.iter(|| label.write(black_box(&plain)));
    });
}

/// Returns a frame as large as a camera's, with a stuffed zero about every 250 bytes as in real entropy-coded data.
fn frame() -> Vec<u8> {
    let mut bytes = Sketch::new(300, 200).bytes();
    let end = bytes.split_off(bytes.len() - 2);
    while bytes.len() < 15_000 {
        bytes.extend([0x5A; 248]);
        bytes.extend([0xFF, 0x00]);
    }
    bytes.extend(end);
    bytes
}

fn label() -> Label {
    Label {
        stream: StreamId(1),
        seq: 2,
        captured_us: 3,
        camera: "yard".parse().expect("'yard' is a name"),
    }
}

criterion_group!(benches, classes);
criterion_main!(benches);
