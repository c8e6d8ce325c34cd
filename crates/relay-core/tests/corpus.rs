//! Replays the corpus of the fuzz target `relay_core`, so that every compiler checks what fuzzing with a nightly one has
//! found.

#![expect(
    clippy::disallowed_methods,
    reason = "the corpus is files; the ban on files is for the crate itself"
)]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../protocol/fuzz/src/relay_core/mod.rs"]
#[allow(unreachable_pub, reason = "it is shared with the fuzz target")]
mod rules;

#[test]
fn every_sequence_of_events_of_the_corpus_leaves_the_relay_in_order() {
    let files: Vec<_> = fs::read_dir(corpus())
        .expect("the corpus is committed")
        .map(|file| file.expect("the corpus can be listed").path())
        .collect();
    assert!(!files.is_empty(), "the corpus is empty");
    for file in files {
        eprintln!("{}", file.display()); // the last one is that of the failure
        let bytes = fs::read(file).expect("a file of the corpus can be read");
        rules::relay_core(&bytes, testkit::time::start());
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/fuzz/corpus/relay_core")
}

/// Writes the seeds: `cargo test -p relay-core --test corpus -- --ignored`.
#[test]
#[ignore = "it writes the corpus's seeds; run it when the target's events have changed"]
fn seeds() {
    for (name, settings, events) in sequences() {
        let path = corpus().join(format!("seed-{name}"));
        let bytes = [&settings[..], &events.concat()].concat();
        fs::write(path, bytes).expect("the corpus can be written");
    }
}

type Event = Vec<u8>;

fn datagram(from: u8, bytes: &[u8]) -> Event {
    let length = u8::try_from(bytes.len()).expect("seeds are small");
    [&[0, from, 0, length], bytes].concat()
}

fn request(from: u8) -> Event {
    vec![2, from, 0, 0]
}

fn hello(from: u8, cookie: u8) -> Event {
    vec![2, from, 1, cookie]
}

/// A labelled frame: numbers from 100 on are shared names, from 150 on the honest camera's.
fn labelled(from: u8, camera: u8, stream: u8, seq: u8) -> Event {
    vec![4, from, 10, 1, camera, stream, seq, 1]
}

fn unlabelled(from: u8) -> Event {
    vec![4, from, 10, 0]
}

fn connect(from: u8, camera: u8, proof: u8) -> Event {
    vec![7, proof, from, camera, 7]
}

fn publish(sender: u8, seq: u8) -> Event {
    vec![8, sender, 3, 10, 7, seq, 1]
}

/// Time whose square is in milliseconds.
fn pass(root: u8) -> Event {
    vec![19, root]
}

fn answers(kind: u8) -> Event {
    vec![13, 20, kind, kind, kind, 14, kind, 15, kind]
}

fn repeated(count: u8, events: impl Fn(u8) -> Vec<Event>) -> Vec<Event> {
    (1..=count).flat_map(events).collect()
}

/// Returns names, settings and events.
fn sequences() -> Vec<(&'static str, [u8; 3], Vec<Event>)> {
    let watched = |n| vec![labelled(3, 5, 1, n), pass(10), answers(n)];
    let [closed, unreachable, restored] = [0, 1, 2].map(|kind| vec![11, 1, kind]);
    let subscribers = vec![
        vec![12, 1, 2, 150],
        vec![12, 2, 3],
        vec![12, 2, 1],
        vec![12, 1, 0],
    ];
    let takeover = vec![
        connect(3, 200, 0),
        labelled(3, 200, 7, 9),
        labelled(4, 5, 1, 1),
        labelled(9, 5, 1, 2),
        pass(60),
        labelled(9, 5, 1, 2),
        labelled(9, 5, 2, 255),
    ];
    let leases = vec![
        request(1),
        request(17),
        hello(2, 0),
        hello(2, 1),
        vec![2, 2, 3, 1],
        closed.clone(),
        pass(80),
        closed,
        unreachable,
        pass(250),
    ];
    let full = repeated(40, |n| vec![labelled(3, n, 1, 1), connect(4, 40 + n, 0)]);
    let quic = repeated(8, |n| vec![publish(0, n), pass(10), answers(n)]);
    let left = vec![vec![10, 0, 0], vec![10, 0, 1], connect(4, 7, 1), pass(60)];
    let rows = repeated(6, |n| {
        (0..8)
            .map(|camera| labelled(camera, camera, 1, n))
            .collect()
    });
    let unlabelled = [1, 17, 33, 1, 2].map(|from| [unlabelled(from), pass(5)].concat());
    vec![
        (
            "watched",
            [0, 4, 0],
            [vec![request(1)], repeated(8, watched)].concat(),
        ),
        (
            "hold",
            [0, 10, 1],
            [vec![request(1)], repeated(8, watched)].concat(),
        ),
        (
            "subscribers",
            [2, 4, 4],
            [subscribers, repeated(8, watched)].concat(),
        ),
        (
            "quic",
            [1, 4, 4],
            [vec![connect(3, 7, 0)], quic, left].concat(),
        ),
        ("takeover", [1, 4, 0], takeover),
        (
            "full",
            [0, 4, 0],
            [
                full,
                vec![pass(60), pass(60), labelled(7, 99, 1, 1), vec![17, 0]],
            ]
            .concat(),
        ),
        (
            "unlabelled",
            [0, 4, 2],
            [&unlabelled[..], &[pass(60), vec![4, 49, 10, 0]]].concat(),
        ),
        (
            "private",
            [1, 4, 0x10],
            vec![restored, request(1), labelled(3, 5, 1, 1), pass(15)],
        ),
        ("leases", [3, 3, 0], leases),
        (
            "batch",
            [0x48, 4, 4],
            [
                rows,
                repeated(12, |n| vec![answers(n), pass(3)]),
                vec![vec![16, 0]],
            ]
            .concat(),
        ),
        (
            "raw",
            [0, 4, 0],
            vec![datagram(1, b"Request"), datagram(2, &[7; 5]), pass(10)],
        ),
    ]
}
