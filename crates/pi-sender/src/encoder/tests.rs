//! What frames become of which pictures.

use std::time::Duration;

use opencv::core::{self, CV_8UC3, Scalar};
use protocol::datagram::MAX_DATAGRAM;
use protocol::jpeg;
use protocol::label::StreamId;
use testkit::jpeg::Sketch;
use testkit::jpeg::bombs::{self, Forged};

use super::*;

fn label() -> Label {
    Label {
        stream: StreamId(1),
        seq: 2,
        captured_us: 3,
        camera: "yard".parse().unwrap(),
    }
}

fn goal(size: &str, quality: u8) -> FrameGoal {
    FrameGoal {
        size: size.parse().unwrap(),
        stretch: false,
        quality,
        fixed: false,
    }
}

fn top(size: &str, quality: u8) -> Rung {
    Rung {
        quality,
        size: size.parse().unwrap(),
    }
}

fn noise(size: &str) -> Mat {
    let size: Size = size.parse().unwrap();
    let (rows, cols) = (size.height.into(), size.width.into());
    let mut picture =
        Mat::new_rows_cols_with_default(rows, cols, CV_8UC3, Scalar::all(0.0)).unwrap();
    core::randu(&mut picture, &0.0, &255.0).unwrap();
    picture
}

/// An encoder that the network has brought so many rungs down.
fn down(goal: FrameGoal, steps: u64, now: Instant) -> FrameEncoder {
    let mut encoder = FrameEncoder::new(goal);
    skip_all(&mut encoder, 3 * steps, now);
    encoder
}

fn connected(offered: u64, skipped: u64) -> NetworkFeedback {
    NetworkFeedback::Connected { offered, skipped }
}

fn skip_all(encoder: &mut FrameEncoder, seconds: u64, now: Instant) {
    for second in 0..=seconds {
        let frames = 10 * second;
        encoder.on_feedback(connected(frames, frames), now + Duration::from_secs(second));
    }
}

#[test]
fn near_is_within_a_quarter_on_both_sides() {
    let size = |(width, height)| Size { width, height };
    let wanted = size((300, 200));
    for good in [(300, 200), (320, 240), (375, 250), (225, 150)] {
        assert!(is_near(size(good), wanted), "{good:?}");
    }
    for bad in [(376, 200), (300, 251), (224, 200), (640, 480), (200, 300)] {
        assert!(!is_near(size(bad), wanted), "{bad:?}");
    }
}

#[test]
fn a_jpeg_near_the_size_is_passed_through_to_the_byte() {
    let mut encoder = FrameEncoder::new(goal("300x200", 80));
    let jpeg = Sketch::new(320, 240).bytes();
    let picture = camera_jpeg(&jpeg);
    let frame = encoder.encode(&picture, &label(), Instant::now()).unwrap();
    assert!(frame == Some(label().write(&jpeg)));
    assert_eq!(encoder.encode_times().at(50.0), None);
    let size = "320x240".parse().unwrap();
    let passed = Encoding {
        quality: None,
        size,
    };
    assert_eq!(encoder.encoding(), passed);
}

#[test]
fn a_jpeg_of_another_size_is_resized_in_its_shape() {
    let jpeg = imaging::jpeg::encode(&noise("640x480"), 50).unwrap();
    let mut encoder = FrameEncoder::new(goal("300x200", 80));
    let frame = encoder.encode(&camera_jpeg(&jpeg), &label(), Instant::now());
    assert_eq!(size(&frame.unwrap().unwrap()).to_string(), "267x200");
    assert_eq!(encoder.encoding(), top("267x200", 80).into());
}

#[test]
fn a_cameras_jpeg_above_the_networks_limits_is_scaled_down_into_them() {
    let dark = Mat::new_rows_cols_with_default(2592, 4608, CV_8UC3, Scalar::all(9.0)).unwrap();
    let jpeg = imaging::jpeg::encode(&dark, 80).unwrap();
    let mut encoder = FrameEncoder::new(goal("640x360", 80));
    let frame = encoder.encode(&camera_jpeg(&jpeg), &label(), Instant::now());
    assert_eq!(size(&frame.unwrap().unwrap()).to_string(), "640x360");
    let smallest = encoder.encode_smallest(&camera_jpeg(&jpeg), &label());
    assert!(size(&smallest.unwrap()).width < 640);
    // Near the wanted size, which no relay accepts.
    let mut encoder = FrameEncoder::new(goal("4096x8", 80));
    let wide = camera_jpeg(&bombs::flat(4200, 8));
    let frame = encoder.encode(&wide, &label(), Instant::now());
    assert_eq!(size(&frame.unwrap().unwrap()).to_string(), "4096x8");
}

#[test]
fn a_jpeg_that_a_relay_refuses_is_encoded_again_even_near_the_size() {
    let cmyk = Forged::new(0xC0, (64, 48), &[0x11; 4]).scan(&[1, 2, 3, 4], [0, 63, 0], &[0; 64]);
    let mut encoder = FrameEncoder::new(goal("64x48", 80));
    let frame = encoder.encode(&camera_jpeg(&cmyk.bytes()), &label(), Instant::now());
    assert_eq!(size(&frame.unwrap().unwrap()).to_string(), "64x48");
}

#[test]
fn on_a_lower_rung_a_jpeg_is_encoded_again_and_smaller() {
    let now = Instant::now();
    let jpeg = imaging::jpeg::encode(&noise("320x240"), 70).unwrap();
    let picture = camera_jpeg(&jpeg);
    let mut last = usize::MAX;
    for (steps, encoding) in [
        (0, None),
        (1, Some(top("267x200", 65))),
        (2, Some(top("267x200", 40))),
        (3, Some(top("200x150", 40))),
    ] {
        let mut encoder = down(goal("300x200", 80), steps, now);
        let frame = encoder.encode(&picture, &label(), now).unwrap().unwrap();
        let encoding = encoding.map_or(
            Encoding {
                quality: None,
                size: "320x240".parse().unwrap(),
            },
            Encoding::from,
        );
        assert_eq!(encoder.encoding(), encoding);
        assert_eq!(size(&frame), encoding.size);
        assert!(frame.len() < last);
        last = frame.len();
    }
}

#[test]
fn a_jpeg_that_is_smaller_than_the_rung_makes_it_is_passed_through_on_any() {
    let now = Instant::now();
    let jpeg = imaging::jpeg::encode(&noise("300x200"), 1).unwrap();
    let mut encoder = down(goal("300x200", 80), 3, now);
    let frame = encoder.encode(&camera_jpeg(&jpeg), &label(), now);
    assert!(frame.unwrap() == Some(label().write(&jpeg)));
    assert_eq!(encoder.encoding().quality, None);
}

#[test]
fn the_rung_stays_over_an_outage_and_rises_again_by_udp() {
    let mut now = Instant::now();
    let mut encoder = down(goal("300x200", 80), 1, now);
    let lower = Encoding::from(top("300x200", 65));
    let picture = Picture::Raw(noise("300x200"));
    for second in 0..60 {
        encoder.on_feedback(NetworkFeedback::Disconnected, now);
        encoder.on_feedback(connected(second, second), now);
        encoder.encode(&picture, &label(), now).unwrap();
        assert_eq!(encoder.encoding(), lower);
        now += Duration::from_secs(1);
    }
    encoder.on_feedback(NetworkFeedback::Unknown, now);
    for _ in 0..2 {
        encoder.encode(&picture, &label(), now).unwrap();
        now += Duration::from_secs(1);
    }
    assert_eq!(encoder.encoding(), top("300x200", 80).into());
}

/// An encoder by `--size auto`, and the time to call it at.
fn auto() -> (FrameEncoder, Instant) {
    (FrameEncoder::new(goal("auto", 80)), Instant::now())
}

/// Encodes a picture for so many seconds while the network skips nothing, and returns the last frame.
fn grow(encoder: &mut FrameEncoder, picture: &Picture, seconds: u64, now: &mut Instant) -> Vec<u8> {
    let mut last = Vec::new();
    for frame in 0..10 * seconds {
        last = encoder.encode(picture, &label(), *now).unwrap().unwrap();
        encoder.on_feedback(connected(frame, 0), *now);
        *now += Duration::from_millis(100);
    }
    last
}

#[test]
fn a_cameras_jpegs_grow_to_their_own_size_and_are_passed_through_there() {
    let jpeg = imaging::jpeg::encode(&noise("640x480"), 10).unwrap();
    let ((mut encoder, mut now), picture) = (auto(), camera_jpeg(&jpeg));
    let first = encoder.encode(&picture, &label(), now).unwrap().unwrap();
    assert_eq!(size(&first).to_string(), "267x200");
    let last = grow(&mut encoder, &picture, 60, &mut now);
    assert!(last == label().write(&jpeg));
    // By UDP that would be ten times what crosses a lossy path.
    encoder.on_feedback(NetworkFeedback::Unknown, now);
    let frame = encoder.encode(&picture, &label(), now).unwrap().unwrap();
    assert_eq!(size(&frame).to_string(), "267x200");
}

#[test]
fn by_auto_a_jpeg_near_the_start_is_passed_through_from_the_first_frame_on() {
    let jpeg = Sketch::new(320, 240).bytes();
    let ((mut encoder, mut now), picture) = (auto(), camera_jpeg(&jpeg));
    for seconds in [1, 30] {
        assert!(grow(&mut encoder, &picture, seconds, &mut now) == label().write(&jpeg));
    }
    assert_eq!(encoder.encode_times().at(50.0), None);
}

#[test]
fn stretched_frames_have_the_size_whatever_the_pictures_shape() {
    let stretched = FrameGoal {
        stretch: true,
        ..goal("300x200", 80)
    };
    for picture in ["640x480", "1280x720", "160x90"] {
        let mut encoder = FrameEncoder::new(stretched);
        let picture = Picture::Raw(noise(picture));
        let frame = encoder.encode(&picture, &label(), Instant::now());
        assert_eq!(size(&frame.unwrap().unwrap()).to_string(), "300x200");
    }
}

/// A camera's JPEG whose Exif data says that it is displayed after a quarter turn.
fn turned(size: &str) -> Picture {
    let whole = imaging::jpeg::encode(&noise(size), 95).unwrap();
    // Little endian, one entry: orientation 6.
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    let head = [&[0xFF, 0xD8, 0xFF, 0xE1][..], &length, exif].concat();
    camera_jpeg(&[&head, &whole[2..]].concat())
}

#[test]
fn a_jpeg_that_exif_turns_is_fitted_as_it_is_displayed() {
    let mut encoder = FrameEncoder::new(goal("300x200", 80));
    let frame = encoder.encode(&turned("640x480"), &label(), Instant::now());
    assert_eq!(size(&frame.unwrap().unwrap()).to_string(), "150x200");
    // As it lies, this one has but two sizes to grow to.
    let (mut encoder, mut now) = (FrameEncoder::new(goal("auto", 40)), Instant::now());
    grow(&mut encoder, &turned("400x300"), 35, &mut now);
    assert_eq!(encoder.ladder.rung(), top("300x400", 40));
    assert_eq!(
        encoder.encoding().quality,
        None,
        "the top is the JPEG itself"
    );
}

#[test]
fn the_frame_that_a_good_network_leads_to_is_known_beforehand() {
    let picture = Picture::Raw(noise("1280x720"));
    let (mut encoder, now) = auto();
    encoder.encode(&picture, &label(), now).unwrap();
    let (frame, encoding) = encoder.encode_grown(&picture, &label()).unwrap().unwrap();
    assert_eq!(encoding, top("640x360", 80).into());
    assert_eq!(size(&frame), encoding.size);
    let mut encoder = FrameEncoder::new(goal("640x480", 80));
    encoder.encode(&picture, &label(), now).unwrap();
    assert!(encoder.encode_grown(&picture, &label()).unwrap().is_none());
}

#[test]
fn where_it_is_fixed_the_network_changes_nothing() {
    let now = Instant::now();
    let mut encoder = FrameEncoder::new(FrameGoal {
        fixed: true,
        ..goal("300x200", 80)
    });
    skip_all(&mut encoder, 60, now);
    let picture = Picture::Raw(noise("300x200"));
    encoder.encode(&picture, &label(), now).unwrap();
    assert_eq!(encoder.encoding(), top("300x200", 80).into());
}

#[test]
fn a_frame_too_large_for_a_datagram_steps_down_and_stays_there() {
    let now = Instant::now();
    for fixed in [false, true] {
        let mut encoder = FrameEncoder::new(FrameGoal {
            fixed,
            ..goal("500x400", 95)
        });
        let picture = Picture::Raw(noise("500x400"));
        let frame = encoder.encode(&picture, &label(), now).unwrap().unwrap();
        assert!(frame.len() <= MAX_DATAGRAM);
        let encoding = encoder.encoding();
        assert!(encoding.quality.unwrap() < 95);
        encoder.encode(&picture, &label(), now).unwrap();
        assert_eq!(encoder.encoding(), encoding);
    }
}

#[test]
fn a_large_picture_goes_as_it_is_by_quic_and_is_made_to_fit_a_datagram_by_udp() {
    let now = Instant::now();
    let mut encoder = FrameEncoder::new(FrameGoal {
        fixed: true,
        ..goal("1920x1080", 85)
    });
    let picture = Picture::Raw(noise("1920x1080"));
    let lengths: Vec<_> = [connected(1, 0), NetworkFeedback::Unknown, connected(2, 0)]
        .into_iter()
        .map(|feedback| {
            encoder.on_feedback(feedback, now);
            let frame = encoder.encode(&picture, &label(), now).unwrap();
            frame.unwrap().len()
        })
        .collect();
    assert!(
        lengths[0] > 1_000_000 && lengths[1] <= MAX_DATAGRAM,
        "{lengths:?}"
    );
    assert_eq!(lengths[2], lengths[0]);
    assert_eq!(encoder.encoding(), top("1920x1080", 85).into());
}

#[test]
fn where_the_lowest_quality_is_too_large_for_a_datagram_the_size_goes_down() {
    let mut encoder = FrameEncoder::new(goal("1000x800", 80));
    let picture = Picture::Raw(noise("1000x800"));
    let frame = encoder.encode(&picture, &label(), Instant::now()).unwrap();
    let encoding = encoder.encoding();
    assert!(encoding.size.width < 1000);
    assert_eq!(size(&frame.unwrap()), encoding.size);
}

#[test]
fn a_frame_that_fits_on_no_rung_is_none() {
    let mut encoder = FrameEncoder::new(goal("3000x3000", 80));
    let picture = Picture::Raw(noise("3000x3000"));
    let frame = encoder.encode(&picture, &label(), Instant::now());
    assert!(frame.unwrap().is_none());
}

fn camera_jpeg(jpeg: &[u8]) -> Picture {
    Picture::from_jpeg(jpeg.to_vec()).unwrap()
}

fn size(frame: &[u8]) -> Size {
    jpeg::scan(frame, jpeg::Limits::default()).unwrap()
}
