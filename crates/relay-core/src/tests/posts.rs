//! Single frames by HTTP, and whose name they are under.

use protocol::datagram::DropReason;
use protocol::jpeg::Defect;

use super::*;

const TAKEN: FrameVerdict = FrameVerdict::Refused(Refusal::Taken);

fn names(scene: &Scene) -> Vec<(String, u64)> {
    let published = scene
        .published
        .iter()
        .map(|published| &published.frame.label);
    published
        .map(|label| (label.camera.to_string(), label.seq))
        .collect()
}

#[test]
fn a_posted_frame_is_its_cameras_with_a_label_or_without() {
    let mut scene = Scene::new(rules());
    assert_eq!(scene.posted("yard", 1, plain(9)), FrameVerdict::Accepted);
    assert_eq!(scene.posted("yard", 1, plain(9)), FrameVerdict::Accepted);
    assert_eq!(
        scene.posted("drive", 1, labelled("drive", 7, 5)),
        FrameVerdict::Accepted
    );
    let expected = [("yard", 1), ("yard", 2), ("drive", 5)];
    assert_eq!(
        names(&scene),
        expected.map(|(name, seq)| (name.to_owned(), seq))
    );
    assert_eq!(scene.published[0].frame.label.captured_us, 5_000_000);
}

#[test]
fn what_is_not_a_frame_of_that_camera_is_answered_with_its_reason() {
    let mut scene = Scene::new(rules());
    let not_jpeg = FrameVerdict::NotAFrame(DropReason::Jpeg(Defect::NotJpeg));
    assert_eq!(scene.posted("yard", 1, &b"no picture"[..]), not_jpeg);
    let other = scene.posted("yard", 1, labelled("drive", 7, 1));
    assert_eq!(other, FrameVerdict::Dropped("misnamed"));
    let control = scene.posted("yard", 1, Control::Upgrade.write());
    assert_eq!(control, FrameVerdict::Dropped("control"));
    scene.posted("yard", 1, labelled("yard", 7, 1));
    let again = scene.posted("yard", 1, labelled("yard", 7, 1));
    assert_eq!(again, FrameVerdict::Dropped("late"));
    assert_eq!(scene.published.len(), 1);
}

#[test]
fn a_name_is_its_first_hosts_until_that_is_silent_for_3_s() {
    let mut scene = Scene::new(rules());
    scene.posted("yard", 1, plain(1));
    scene.pass(2999 * MS);
    assert_eq!(scene.posted("yard", 2, plain(1)), TAKEN);
    scene.pass(MS);
    assert_eq!(scene.posted("yard", 2, plain(1)), FrameVerdict::Accepted);
    assert_eq!(scene.posted("yard", 1, plain(1)), TAKEN);
}

#[test]
fn two_streams_of_one_host_do_not_take_turns_under_one_name() {
    let mut scene = Scene::new(rules());
    for seq in 1..=20 {
        let owner = scene.posted("yard", 1, labelled("yard", 7, seq));
        assert_eq!(owner, FrameVerdict::Accepted);
        assert_eq!(scene.posted("yard", 1, labelled("yard", 8, seq)), TAKEN);
        scene.pass(100 * MS);
    }
    scene.pass(300 * MS);
    let restarted = scene.posted("yard", 1, labelled("yard", 8, 21));
    assert_eq!(restarted, FrameVerdict::Accepted);
}

#[test]
fn a_connection_keeps_its_name_and_no_datagram_takes_a_posted_one() {
    let mut scene = Scene::new(rules());
    scene.connect(address(1, 1), "yard", 7, None).unwrap();
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    scene.pass(60_000 * MS);
    assert_eq!(scene.posted("yard", 1, plain(1)), TAKEN);
    scene.posted("drive", 2, labelled("drive", 9, 1));
    scene.datagram(address(2, 0), labelled("drive", 8, 2));
    assert_eq!(scene.relay.counts().dropped["stranger"], 2);
    assert_eq!(names(&scene).len(), 2);
}

#[test]
fn a_host_that_posts_gets_its_camera_back_at_once_from_a_forged_datagram() {
    let mut scene = Scene::new(rules());
    scene.posted("yard", 1, plain(1));
    scene.pass(4000 * MS);
    scene.datagram(address(9, 1), labelled("yard", 9, 1));
    assert_eq!(scene.posted("yard", 1, plain(1)), FrameVerdict::Accepted);
}
