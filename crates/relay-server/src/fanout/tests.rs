//! Feeds of cameras that come and go, and their subscribers.

use protocol::frame::Frame;
use protocol::geometry::Size;
use protocol::label::StreamId;
use relay_core::{CameraFrame, CameraId, Payer};

use super::*;

/// A frame of a camera that came with its label.
pub(crate) fn publication(
    camera: &str,
    is_default: bool,
    reordered: bool,
    jpeg: &'static [u8],
) -> Publication {
    let label = Label {
        stream: StreamId(1),
        seq: 2,
        captured_us: 2,
        camera: camera.parse().unwrap(),
    };
    let frame = Frame {
        jpeg: Bytes::from_static(jpeg),
        size: Size {
            width: 300,
            height: 200,
        },
        label: Some(label.clone()),
    };
    Publication {
        frame: CameraFrame {
            camera: CameraId(0),
            count: 1,
            frame,
            label,
            received_at: Instant::now(),
            transport: protocol::transport::Transport::Udp,
            payer: Payer::default(),
        },
        is_default,
        reordered,
    }
}

fn name(text: &str) -> Option<CameraName> {
    text.parse().ok()
}

async fn next(feed: &mut Feed) -> Vec<u8> {
    feed.frames.recv().await.unwrap().jpeg.to_vec()
}

#[tokio::test]
async fn who_is_slow_finds_the_newest_frame_and_no_queue() {
    let mut fanout = Fanout::default();
    let mut yard = fanout.subscribe(name("yard").as_ref());
    for jpeg in [b"1", b"2", b"3"] {
        fanout.publish(&publication("yard", true, false, jpeg));
    }
    let found = yard.frames.recv().await.unwrap();
    assert_eq!((found.number, found.jpeg.as_ref()), (3, &b"3"[..]));
    assert!(!yard.frames.newest.has_changed().unwrap());
}

#[tokio::test]
async fn boxes_in_the_picture_have_a_slot_of_their_own() {
    let mut fanout = Fanout::default();
    let (mut yard, mut first) = (
        fanout.subscribe(name("yard").as_ref()),
        fanout.subscribe(None),
    );
    fanout.publish(&publication("yard", true, false, b"bare"));
    fanout.publish_annotated(&publication("yard", true, false, b"boxes"));
    for feed in [&mut yard, &mut first] {
        assert_eq!(next(feed).await, b"bare");
        let annotated = feed.annotated.borrow_and_update().clone().unwrap();
        assert_eq!(annotated.jpeg.as_ref(), b"boxes");
    }
}

#[tokio::test]
async fn a_late_frame_never_displaces_a_newer_one() {
    let mut fanout = Fanout::default();
    let mut first = fanout.subscribe(None);
    fanout.publish(&publication("yard", true, false, b"3"));
    fanout.publish(&publication("yard", true, true, b"2"));
    assert_eq!(next(&mut first).await, b"3");
    assert_eq!(next(&mut first).await, b"2");
}

#[tokio::test]
async fn who_names_no_camera_follows_the_first_that_is_live() {
    let mut fanout = Fanout::default();
    let mut first = fanout.subscribe(None);
    fanout.publish_sender_info(
        &name("drive").unwrap(),
        SenderInfo {
            quality: Some(60),
            ..SenderInfo::default()
        },
    );
    fanout.publish(&publication("yard", true, false, b"yard"));
    fanout.publish(&publication("drive", false, false, b"drive"));
    assert_eq!(next(&mut first).await, b"yard");
    fanout.publish(&publication("drive", true, false, b"drive"));
    assert_eq!(next(&mut first).await, b"drive");
    let camera = first.camera.borrow().clone();
    assert_eq!(
        (camera.name.as_str(), camera.sender.quality),
        ("drive", Some(60))
    );
}

#[tokio::test]
async fn whoever_comes_later_sees_a_picture_at_once() {
    let mut fanout = Fanout::default();
    fanout.publish(&publication("yard", true, false, b"1"));
    assert_eq!(
        next(&mut fanout.subscribe(name("yard").as_ref())).await,
        b"1"
    );
}

#[tokio::test]
async fn who_comes_after_a_time_without_anybody_takes_no_old_frame_for_the_newest() {
    let mut fanout = Fanout::default();
    let watched = (
        fanout.subscribe(name("cam1").as_ref()),
        fanout.subscribe(None),
    );
    fanout.publish(&publication("cam1", true, false, b"1"));
    drop(watched);
    // A frame without a label would have to be copied, and there is no subscriber.
    let mut bare = publication("cam1", true, false, b"2");
    bare.frame.frame.label = None;
    fanout.publish(&bare);
    for camera in [name("cam1"), None] {
        let slot = fanout.subscribe(camera.as_ref()).frames.newest;
        assert!(slot.borrow().is_none(), "{camera:?}");
    }
}

#[test]
fn names_that_are_waited_for_in_vain_are_forgotten() {
    let mut fanout = Fanout::default();
    for n in 0..1000 {
        fanout.subscribe(name(&n.to_string()).as_ref());
    }
    assert!(fanout.named.len() <= 1);
}

#[tokio::test]
async fn however_many_names_strangers_think_of_few_frames_are_kept() {
    let mut fanout = Fanout::default();
    fanout.publish_live(vec![name("live").unwrap()]);
    fanout.publish(&publication("live", true, false, b"live"));
    fanout.publish(&publication("watched", true, false, b"watched"));
    let mut watched = fanout.subscribe(name("watched").as_ref());
    for n in 0..1000 {
        fanout.publish(&publication(&n.to_string(), false, false, b"n"));
    }
    assert!(fanout.named.len() <= MAX_CAMERAS);
    assert_eq!(
        next(&mut fanout.subscribe(name("live").as_ref())).await,
        b"live"
    );
    assert_eq!(
        next(&mut fanout.subscribe(name("999").as_ref())).await,
        b"n"
    );
    assert_eq!(next(&mut watched).await, b"watched");
}

#[tokio::test]
async fn messages_reach_those_who_see_that_camera() {
    let mut fanout = Fanout::default();
    let (mut first, mut drive) = (
        fanout.subscribe(None),
        fanout.subscribe(name("drive").as_ref()),
    );
    fanout.publish(&publication("yard", true, false, b"1"));
    fanout.publish_message("yard", &Bytes::from_static(b"boxes"));
    assert_eq!(first.messages.try_recv().unwrap(), b"boxes"[..]);
    assert!(drive.messages.try_recv().is_err());
}
