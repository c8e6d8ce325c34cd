//! Where a frame's time goes in the relay, hot: receive, decide (with the header scan), and send for each viewer.

#![allow(
    missing_docs,
    reason = "criterion's macros write functions without any"
)]

use std::hint::black_box;
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use opencv::core::{self, CV_8UC3, Mat, Scalar};
use opencv::imgproc;
use protocol::datagram::REQUEST;
use relay_core::{CookieSecret, Overlay, Relay, RelaySettings};
use testkit::jpeg::Sketch;

const SIZE: usize = 15_000;

fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("15 kB frame");
    group.bench_function("receive and copy", |bencher| {
        let (from, to) = pair();
        let mut buffer = vec![0; 65_536];
        let send = || from.send(&jpeg());
        let receive = |_| {
            to.recv(&mut buffer)
                .map(|length| Bytes::copy_from_slice(&buffer[..length]))
        };
        bencher.iter_batched(send, receive, BatchSize::PerIteration);
    });
    for viewers in [1, 200] {
        group.bench_function(format!("decide, viewers: {viewers}"), |bencher| {
            let mut relay = relay(viewers);
            let jpeg = Bytes::from(jpeg());
            bencher.iter(|| {
                relay.on_datagram(address(0), jpeg.clone(), 1, Instant::now());
                relay.tick(Instant::now());
                while let Some(action) = relay.next_action() {
                    black_box(action);
                }
            });
        });
    }
    group.bench_function("send to one viewer", |bencher| {
        let (from, to) = pair();
        to.set_nonblocking(true).expect("it is a socket");
        let jpeg = jpeg();
        let mut buffer = [0; 16];
        let empty = || to.recv(&mut buffer).ok();
        bencher.iter_batched(empty, |_| from.send(&jpeg), BatchSize::PerIteration);
    });
    let picture = cloudy();
    let jpeg = imaging::jpeg::encode(&picture, 80).expect("a picture is encoded");
    group.bench_function("for boxes: decode 300x200", |bencher| {
        bencher.iter(|| imaging::jpeg::decode(black_box(&jpeg)).map(drop));
    });
    group.bench_function("for boxes: encode 300x200 at 90", |bencher| {
        bencher.iter(|| imaging::jpeg::encode(black_box(&picture), 90).map(drop));
    });
}

fn relay(viewers: u16) -> Relay {
    let rules = RelaySettings {
        every: None,
        batch: 1,
        model_rest_factor: 0.0,
        overlay: Overlay::None,
        output_reads_detections: false,
        model: "none".to_owned(),
        demo: false,
        udp_viewers: viewers.into(),
        private: false,
        stream: protocol::label::StreamId(1),
        udp_egress: u64::MAX,
    };
    let mut relay = Relay::new(rules, CookieSecret::new([7; 32], [8; 32]), Instant::now());
    for viewer in 1..=viewers {
        relay.on_datagram(
            address(viewer),
            Bytes::from_static(REQUEST),
            1,
            Instant::now(),
        );
    }
    relay
}

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 1000 + n))
}

/// Two sockets, the first connected to the second.
fn pair() -> (UdpSocket, UdpSocket) {
    let bind = || UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let (from, to) = (bind(), bind());
    from.connect(to.local_addr().expect("it is bound"))
        .expect("it is this machine");
    (from, to)
}

/// As large as a camera's, with a stuffed zero about every 250 bytes as in real entropy-coded data.
fn jpeg() -> Vec<u8> {
    let mut bytes = Sketch::new(300, 200).bytes();
    let end = bytes.split_off(bytes.len() - 2);
    while bytes.len() < SIZE {
        bytes.extend([0x5A; 248]);
        bytes.extend([0xFF, 0x00]);
    }
    bytes.extend(end);
    bytes
}

/// Noise, smoothed until it is as hard to encode as a photograph.
fn cloudy() -> Mat {
    let grey = Scalar::all(0.0);
    let mut noise = Mat::new_rows_cols_with_default(200, 300, CV_8UC3, grey).expect("it is small");
    core::randu(&mut noise, &0.0, &255.0).expect("it is a picture");
    let mut smooth = Mat::default();
    imgproc::blur_def(&noise, &mut smooth, core::Size::new(5, 5)).expect("it is a picture");
    smooth
}

criterion_group!(benches, frame);
criterion_main!(benches);
