//! Bytes that become events.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::detections::{Detection, Found};
use protocol::geometry::Size;
use protocol::label::{CameraName, Label, StreamId};
use protocol::peer::Cookie;
use relay_core::{CameraFrame, Overlay, RelaySettings};

use super::{HONEST_CAMERA, HOSTS, KEPT};

/// Bytes that become events; zeros behind their end.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(u16::from_be_bytes([self.byte(), self.byte()]));
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Returns a number of any size, small ones in one byte.
    pub(super) fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            small @ ..=199 => u64::from(small),
            large => 1 << (large % 64),
        }
    }

    pub(super) fn address(&mut self) -> SocketAddr {
        let byte = self.byte();
        let (host, port) = (2 + byte % HOSTS, 1 + u16::from(byte / HOSTS));
        match byte % 5 {
            0 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)], port)),
            _ => SocketAddr::from(([192, 0, 2, host], port)),
        }
    }

    pub(super) fn camera(&mut self) -> CameraName {
        let name = match self.byte() {
            byte @ 0..=99 => format!("own{byte}"),
            100..=149 => "cam1".to_owned(),
            _ => HONEST_CAMERA.to_owned(),
        };
        name.parse().expect("it is a name")
    }

    pub(super) fn cookie(&mut self, known: &VecDeque<Cookie>) -> Option<Cookie> {
        match self.byte() {
            0 => None,
            byte @ 1..=99 => known.get(usize::from(byte) % KEPT).copied(),
            byte => Some(Cookie(u64::from(byte))),
        }
    }
}

/// Returns a relay's settings, whatever they are.
pub(super) fn settings(input: &mut Input<'_>) -> RelaySettings {
    let [model, viewers, flags] = [input.byte(), input.byte(), input.byte()];
    let every = ["1", "4", "auto"].get(usize::from(model % 4));
    RelaySettings {
        every: every.map(|every| every.parse().expect("it is a number or auto")),
        batch: 1 + usize::from(model / 4 % 3),
        model_rest_factor: f64::from(model / 64),
        overlay: Overlay::ALL[usize::from(flags % 3)],
        output_reads_detections: flags & 4 != 0,
        model: "test".to_owned(),
        demo: flags & 8 != 0,
        udp_viewers: usize::from(viewers % 6),
        udp_egress: 1 << (viewers / 6 % 32),
        private: flags & 0xF0 == 0x10,
        stream: StreamId(0xBEE),
    }
}

/// Adds a value to the last [`KEPT`] ones.
pub(super) fn keep<T>(kept: &mut VecDeque<T>, value: T) {
    kept.push_front(value);
    kept.truncate(KEPT);
}

/// Returns a camera's label with any numbers.
pub(super) fn label(camera: CameraName, input: &mut Input<'_>) -> Label {
    Label {
        stream: StreamId(u64::from(input.byte() % 16)),
        seq: input.number(),
        captured_us: input.number(),
        camera,
    }
}

/// Returns what the model found on a frame: nothing, a person, or that it cannot be decoded.
pub(super) fn found(input: &mut Input<'_>, frame: &CameraFrame) -> Option<Found> {
    let kind = input.byte() % 4;
    let size = match kind {
        1 => frame.size(),
        _ => Size {
            width: frame.size().height,
            height: frame.size().width,
        },
    };
    let detections = if kind == 1 { Vec::new() } else { person() };
    let took = Duration::from_millis(40);
    (kind > 0).then_some(Found {
        size,
        took,
        detections,
    })
}

/// Returns a person.
pub(super) fn person() -> Vec<Detection> {
    vec![Detection {
        id: None,
        class: 0,
        label: "person".to_owned(),
        score: 0.9,
        fading: false,
        bbox: [0.1, 0.1, 0.5, 0.5].into(),
    }]
}

/// Returns a picture of any size.
pub(super) fn picture(input: &mut Input<'_>) -> Vec<u8> {
    match input.byte() {
        small @ 0..=199 => grey(u16::from(small), 32),
        large => grey(16 * u16::from(large), 3000),
    }
}

/// Returns a grey picture, which is never decoded.
pub(super) fn grey(width: u16, height: u16) -> Vec<u8> {
    let ([w1, w0], [h1, h0]) = (width.to_be_bytes(), height.to_be_bytes());
    let start = [
        0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, h1, h0, w1, w0, 1, 1, 0x11, 0,
    ];
    let scan = [0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0];
    [&start[..], &scan, &[0x55; 16], &[0xFF, 0xD9]].concat()
}
