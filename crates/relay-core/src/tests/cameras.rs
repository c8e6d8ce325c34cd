//! Whose frames are a camera's.

use super::*;

#[test]
fn a_stranger_cannot_take_a_live_cameras_place() {
    let mut scene = Scene::watched(rules());
    for seq in 1..=30 {
        scene.datagram(address(1, 1), labelled("yard", 1, seq));
        scene.datagram(address(66, 1), labelled("yard", 6, 1000 + seq));
        scene.pass(100 * MS);
    }
    assert!((1..=30).all(|seq| scene.sent.contains(&labelled("yard", 1, seq))));
    assert_eq!(scene.sent.len(), 30);
    assert_eq!(scene.relay.counts().dropped["stranger"], 30);
    let notes = scene
        .other
        .iter()
        .filter(|a| matches!(a, Action::Log(Note::NameInUse(..))))
        .count();
    assert_eq!(notes, 1, "said once");
}

#[test]
fn another_host_may_go_on_after_3_s_of_silence() {
    let mut scene = Scene::watched(rules());
    scene.datagram(address(1, 1), labelled("yard", 1, 1));
    scene.pass(2999 * MS);
    scene.datagram(address(2, 1), labelled("yard", 2, 1));
    assert_eq!(scene.sent.len(), 1);
    scene.pass(MS);
    scene.datagram(address(2, 1), labelled("yard", 2, 2));
    assert_eq!(scene.sent.len(), 2);
}

#[test]
fn a_restarted_camera_goes_on_after_300_ms_or_three_intervals() {
    let mut fast = Scene::watched(rules());
    for seq in 1..=20 {
        fast.datagram(address(1, 1), labelled("yard", 1, seq));
        fast.pass(20 * MS);
    }
    fast.pass(279 * MS);
    fast.datagram(address(1, 2), labelled("yard", 2, 1));
    assert_eq!(fast.sent.len(), 20, "299 ms");
    fast.pass(MS);
    fast.datagram(address(1, 2), labelled("yard", 2, 2));
    assert_eq!(fast.sent.len(), 21, "300 ms");

    let mut slow = Scene::watched(rules());
    for seq in 1..=20 {
        slow.datagram(address(1, 1), labelled("yard", 1, seq));
        slow.pass(200 * MS);
    }
    slow.pass(398 * MS);
    slow.datagram(address(1, 2), labelled("yard", 1, 21));
    assert_eq!(slow.sent.len(), 20, "598 ms at 5 fps");
    slow.pass(2 * MS);
    slow.datagram(address(1, 2), labelled("yard", 1, 22));
    assert_eq!(slow.sent.len(), 21, "600 ms");
}

#[test]
fn a_restarted_camera_keeps_its_name_and_its_count() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=3);
    scene.pass(500 * MS);
    scene.datagram(address(1, 2000), plain(4));
    assert_eq!(scene.jobs[0].count, 4);
    assert_eq!(scene.relay.live_cameras(scene.now), ["cam1"]);
}

#[test]
fn frames_without_a_label_are_named_by_appearance() {
    let mut scene = Scene::watched(rules());
    for host in 1..=3 {
        scene.datagram(address(host, 1000), plain(1));
    }
    assert_eq!(
        scene.relay.live_cameras(scene.now),
        ["cam1", "cam2", "cam3"]
    );
}

#[test]
fn reordered_and_doubled_frames_never_take_the_order_backwards() {
    let mut scene = Scene::watched(rules());
    for seq in [1, 2, 2, 1, 4, 3, 5] {
        scene.datagram(address(1, 1), labelled("yard", 1, seq));
    }
    let seqs = [1, 2, 4, 5].map(|seq| labelled("yard", 1, seq));
    scene.pass(200 * MS);
    assert_eq!(scene.sent, seqs);
    assert_eq!(scene.relay.counts().dropped["late"], 3);
}

#[test]
fn a_forged_number_stops_a_camera_for_3_s_at_most() {
    let mut scene = Scene::watched(rules());
    scene.datagram(address(1, 1), labelled("yard", 1, 1));
    scene.datagram(address(1, 1), labelled("yard", 1, u64::MAX));
    scene.datagram(address(1, 1), labelled("yard", 1, 2));
    assert_eq!(scene.published.len(), 2, "an absurd number is not believed");
    assert_eq!(scene.relay.counts().dropped["absurd_number"], 1);
    scene.datagram(address(1, 1), labelled("yard", 1, 2000));
    for seq in 3..=40 {
        scene.pass(100 * MS);
        scene.datagram(address(1, 1), labelled("yard", 1, seq));
    }
    let seqs: Vec<u64> = scene.published.iter().map(|p| p.frame.label.seq).collect();
    assert_eq!(seqs[..3], [1, 2, 2000]);
    assert_eq!(seqs[3..], (32..=40).collect::<Vec<_>>(), "3 s later");
}

#[test]
fn a_flood_of_sources_is_bounded_and_takes_no_live_cameras_place() {
    let mut scene = Scene::watched(rules());
    scene.datagram(address(1, 1), labelled("yard", 1, 1));
    for n in 0..1000 {
        scene.datagram(address(66, 1), labelled(&format!("flood{n}"), 1, 1));
    }
    assert_eq!(scene.relay.live_cameras(scene.now).len(), 64);
    assert!(scene.relay.counts().dropped["too_many_cameras"] > 900);
    scene.pass(2900 * MS);
    scene.datagram(address(1, 1), labelled("yard", 1, 2));
    scene.pass(200 * MS);
    scene.datagram(address(3, 1), labelled("porch", 1, 1));
    assert_eq!(scene.relay.live_cameras(scene.now), ["yard", "porch"]);
}

#[test]
fn a_slow_rhythm_of_datagrams_keeps_no_other_camera_from_viewers_for_longer_than_3_s() {
    let mut scene = Scene::new(rules());
    for n in 1..=3 {
        scene.datagram(address(66, 1), labelled("slow", 1, n));
        scene.pass(Duration::from_secs(6));
    }
    scene.datagram(address(66, 1), labelled("slow", 1, 4));
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    let name_of_default = |scene: &Scene| {
        let id = scene.relay.cameras.default_camera(scene.now).unwrap();
        scene.relay.cameras.get(id).name.to_string()
    };
    assert_eq!(name_of_default(&scene), "slow", "it came first");
    for n in 2..=31 {
        scene.pass(100 * MS);
        scene.sent_as("yard", address(1, 1), labelled("yard", 7, n));
    }
    assert_eq!(name_of_default(&scene), "yard");
    scene.pass(Duration::from_secs(4));
    assert_eq!(name_of_default(&scene), "slow", "it alone is live");
}

/// Returns the cameras that the log reports: appeared or going on, and gone.
fn reported(scene: &Scene) -> [Vec<String>; 2] {
    let name = |action: &Action, gone: bool| match action {
        Action::Log(Note::CameraAppeared(name, _) | Note::CameraMoved(name, _)) if !gone => {
            Some(name.to_string())
        }
        Action::Log(Note::CameraGone(name, _)) if gone => Some(name.to_string()),
        _ => None,
    };
    [false, true].map(|gone| {
        let names = scene.other.iter().filter_map(|action| name(action, gone));
        names.collect()
    })
}

#[test]
fn a_camera_that_falls_silent_is_reported_once_when_it_is_not_live_any_more() {
    let mut scene = Scene::new(rules());
    scene.datagram(address(1, 1), labelled("yard", 1, 1));
    scene.connect(address(2, 1), "drive", 7, None).unwrap();
    scene.pass(2999 * MS);
    assert_eq!(reported(&scene)[1], [""; 0]);
    scene.pass(10_000 * MS);
    assert_eq!(reported(&scene)[1], ["yard"], "drive has sent no frame");
    let silence = Some(Duration::from_secs(3));
    let note = Note::CameraGone("yard".parse().unwrap(), silence);
    assert!(scene.other.contains(&Action::Log(note)));
    scene.datagram(address(1, 1), labelled("yard", 1, 2));
    assert_eq!(reported(&scene)[0], ["yard", "yard"], "it is back");
    scene.pass(Duration::from_secs(60));
    assert_eq!(reported(&scene)[1], ["yard", "yard"]);
}

#[test]
fn a_live_camera_that_loses_its_slot_is_reported_as_gone() {
    let mut scene = Scene::new(rules());
    for n in 1..=64 {
        let name = format!("camera{n}");
        scene.datagram(address(66, n), labelled(&name, 1, 1));
    }
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    assert_eq!(reported(&scene)[1], ["camera64"]);
}

proptest! {
    #[test]
    fn each_camera_is_reported_as_gone_once_for_each_time_that_it_came(
        steps in prop::collection::vec((1_u8..4, 1_u16..3, 0_u32..6000), 1..60),
    ) {
        let mut scene = Scene::new(rules());
        for (seq, (host, port, pause)) in steps.into_iter().enumerate() {
            let name = format!("camera{host}");
            scene.datagram(address(host, port), labelled(&name, port.into(), 1 + seq as u64));
            scene.pass(MS * pause);
        }
        scene.pass(Duration::from_secs(600));
        let mut live = BTreeMap::<String, bool>::new();
        for action in &scene.other {
            match action {
                Action::Log(Note::CameraAppeared(name, _) | Note::CameraMoved(name, _)) => {
                    live.insert(name.to_string(), true);
                }
                Action::Log(Note::CameraGone(name, _)) => {
                    prop_assert_eq!(live.insert(name.to_string(), false), Some(true));
                }
                _ => {}
            }
        }
        prop_assert!(live.values().all(|live| !live), "{live:?}");
    }
}
