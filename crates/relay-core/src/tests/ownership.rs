//! The right to send as a camera, on both transports.

use super::*;

impl Scene {
    fn numbers(&self) -> Vec<u64> {
        let published = self.published.iter();
        published.map(|frame| frame.frame.label.seq).collect()
    }

    fn cookie_of(&self, address: SocketAddr) -> Cookie {
        self.relay.cameras.of_address(address)
    }

    /// The refusals that senders got.
    fn refusals(&self) -> Vec<Refusal> {
        let refusal = |action: &Action| match action {
            Action::Reply(_, Control::Refused(refusal)) => Some(*refusal),
            Action::RefuseSender(_, refusal) => Some(*refusal),
            _ => None,
        };
        self.other.iter().filter_map(refusal).collect()
    }
}

fn cookies(proof: &Proof) -> Vec<Cookie> {
    proof.cookies().to_vec()
}

#[test]
fn a_sender_that_returns_the_cookie_changes_from_udp_to_quic_at_once() {
    let mut scene = Scene::new(rules());
    scene.datagram(address(1, 1000), labelled("yard", 7, 1));
    let cookie = Some(scene.cookie_of(address(1, 1000)));
    scene.connect(address(1, 2000), "yard", 7, cookie).unwrap();
    scene.sent_as("yard", address(1, 2000), labelled("yard", 7, 2));
    scene.datagram(address(1, 1000), labelled("yard", 7, 1));
    scene.sent_as("yard", address(1, 2000), labelled("yard", 7, 3));
    assert_eq!(scene.numbers(), [1, 2, 3]);
}

#[test]
fn frames_that_were_on_their_way_when_a_sender_changed_to_quic_are_late_and_no_strangers() {
    let mut scene = Scene::new(rules());
    scene.sent_as("yard", address(1, 2000), labelled("yard", 7, 1));
    scene.other.clear();
    let label = Label::read(&labelled("yard", 7, 2)).unwrap().unwrap();
    let picture = Sketch::new(300, 200).segment(0xFE, &[0; 2000]).bytes();
    scene.datagram(address(1, 1000), label.write(&picture));
    assert_eq!(scene.other, []);
    assert_eq!(scene.relay.counts().dropped["late"], 1);
}

#[test]
fn the_stream_id_alone_takes_no_cameras_name() {
    let mut scene = Scene::new(rules());
    scene.datagram(address(1, 1000), labelled("yard", 7, 1));
    for proof in [
        None,
        Some(Cookie(1)),
        Some(scene.cookie_of(address(1, 2000))),
    ] {
        let refused = scene.connect(address(1, 2000), "yard", 7, proof);
        assert_eq!(refused, Err(Refusal::Taken), "{proof:?}");
    }
}

#[test]
fn no_datagram_takes_the_place_of_a_connected_camera_however_long_it_pauses() {
    let mut scene = Scene::new(rules());
    scene.sent_as("yard", address(1, 2000), labelled("yard", 7, 1));
    for seconds in [0, 1, 10, 1000] {
        scene.pass(Duration::from_secs(seconds));
        scene.datagram(address(1, 2000), labelled("yard", 7, 2));
        scene.datagram(address(2, 1), labelled("yard", 8, 1));
    }
    scene.sent_as("yard", address(1, 2000), labelled("yard", 7, 3));
    assert_eq!(scene.numbers(), [1, 3]);
    let dropped = &scene.relay.counts().dropped;
    assert_eq!((dropped["stranger"], dropped["late"]), (4, 4));
}

#[test]
fn a_connection_that_is_lost_reserves_the_name_against_datagrams_for_3_s() {
    let mut scene = Scene::new(rules());
    scene.sent_as("yard", address(1, 2000), labelled("yard", 7, 1));
    scene.disconnect(address(1, 2000));
    scene.pass(2999 * MS);
    scene.datagram(address(1, 1000), labelled("yard", 7, 2));
    scene.pass(MS);
    scene.datagram(address(1, 1000), labelled("yard", 7, 3));
    assert_eq!(scene.numbers(), [1, 3]);
}

#[test]
fn a_sender_comes_back_at_once_from_another_host_whatever_took_its_name_meanwhile() {
    let mut scene = Scene::new(rules());
    let proof = scene.connect(address(1, 1), "yard", 7, None).unwrap();
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    scene.disconnect(address(1, 1));
    scene.pass(3000 * MS);
    scene.datagram(address(66, 1), labelled("yard", 7, 999));
    assert_eq!(scene.numbers(), [1, 999]);
    let refused = scene.connect(address(2, 1), "yard", 7, None);
    assert_eq!(refused, Err(Refusal::Taken));
    let same = scene.connect(address(2, 1), "yard", 7, cookies(&proof));
    assert_eq!(same, Ok(proof));
    scene.sent_as("yard", address(2, 1), labelled("yard", 7, 2));
    assert_eq!(scene.numbers(), [1, 999, 2], "its numbers begin anew");
}

#[test]
fn a_cookie_of_an_owner_before_the_last_is_worth_nothing() {
    let mut scene = Scene::new(rules());
    let old = scene.connect(address(1, 1), "yard", 7, None).unwrap();
    scene.disconnect(address(1, 1));
    scene.pass(3000 * MS);
    scene.connect(address(2, 1), "yard", 8, None).unwrap();
    scene.sent_as("yard", address(2, 1), labelled("yard", 8, 1));
    for gone in [false, true] {
        if gone {
            scene.disconnect(address(2, 1));
        }
        let refused = scene.connect(address(1, 1), "yard", 7, cookies(&old));
        assert_eq!(
            refused,
            Err(Refusal::Taken),
            "its connection is gone: {gone}"
        );
    }
}

#[test]
fn a_sender_of_before_a_restart_takes_its_name_back_from_datagrams_and_from_no_connection() {
    let mut scene = Scene::new(rules());
    let proof = scene.connect(address(1, 1), "yard", 7, None).unwrap();
    scene.restart();
    for from in [address(66, 1), address(1, 1)] {
        scene.datagram(from, labelled("yard", 7, 1));
    }
    let unproved = scene.connect(address(1, 2), "yard", 8, None);
    assert_eq!(unproved, Err(Refusal::Taken));
    let again = scene.connect(address(2, 1), "yard", 7, cookies(&proof));
    let again = again.expect("the sender of before is known");
    let older = scene.connect(address(3, 1), "yard", 7, cookies(&proof));
    assert_eq!(older, Err(Refusal::Taken), "it shows no proof against one");
    scene.datagram(address(66, 1), labelled("porch", 7, 1));
    let of_another_name = scene.connect(address(2, 1), "porch", 7, cookies(&again));
    assert_eq!(of_another_name, Err(Refusal::Taken));
}

#[test]
fn a_slow_rhythm_of_a_connection_that_has_ended_reserves_its_name_for_3_s() {
    let mut scene = Scene::new(rules());
    for n in 1..=4 {
        scene.sent_as("yard", address(66, 1), labelled("yard", 7, n));
        scene.pass(Duration::from_secs(20));
    }
    scene.sent_as("yard", address(66, 1), labelled("yard", 7, 5));
    scene.disconnect(address(66, 1));
    scene.pass(2999 * MS);
    scene.datagram(address(1, 1), labelled("yard", 8, 1));
    scene.pass(MS);
    scene.datagram(address(1, 1), labelled("yard", 8, 2));
    assert_eq!(scene.numbers(), [1, 2, 3, 4, 5, 2]);
}

#[test]
fn a_forged_slow_rhythm_reserves_a_name_against_a_connection_for_3_s() {
    let mut scene = Scene::new(rules());
    for n in 1..=4 {
        scene.datagram(address(66, 1), labelled("yard", 1, n));
        scene.pass(Duration::from_secs(6));
    }
    scene.datagram(address(66, 1), labelled("yard", 1, 5));
    scene.pass(2999 * MS);
    let refused = scene.connect(address(1, 1), "yard", 7, None);
    assert_eq!(refused, Err(Refusal::Taken));
    scene.pass(MS);
    assert!(scene.connect(address(1, 1), "yard", 7, None).is_ok());
}

#[test]
fn a_sender_whose_old_connection_is_not_noticed_to_be_dead_replaces_it() {
    let mut scene = Scene::new(rules());
    let proof = scene.connect(address(1, 1), "yard", 7, None).unwrap();
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    let old = scene.senders.values().next().unwrap().id;
    scene
        .connect(address(1, 1), "yard", 7, cookies(&proof))
        .unwrap();
    assert!(
        scene
            .other
            .contains(&Action::RefuseSender(old, Refusal::Taken))
    );
    scene.relay.on_sender_left(old, false);
    scene.pass(10_000 * MS);
    scene.datagram(address(2, 1), labelled("yard", 8, 1));
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 2));
    assert_eq!(scene.numbers(), [1, 2], "the new connection owns the name");
}

#[test]
fn the_first_of_two_senders_with_one_name_keeps_it_and_the_second_is_refused() {
    let mut scene = Scene::new(rules());
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    for other in [address(1, 2), address(2, 1)] {
        let refused = scene.connect(other, "yard", 8, None);
        assert_eq!(refused, Err(Refusal::Taken));
    }
    scene.pass(5000 * MS);
    let refused = scene.connect(address(1, 2), "yard", 8, None);
    assert_eq!(refused, Err(Refusal::Taken), "it is connected");
    scene.disconnect(address(1, 1));
    assert!(scene.connect(address(1, 2), "yard", 8, None).is_ok());
}

#[test]
fn a_sender_that_closed_its_connection_is_followed_by_datagrams_of_its_host_at_once() {
    let mut scene = Scene::new(rules());
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    scene.end_connections(address(1, 1), true);
    scene.datagram(address(2, 1), labelled("yard", 8, 1));
    scene.datagram(address(1, 2), labelled("yard", 9, 1));
    assert_eq!(scene.numbers(), [1, 1]);
    let last = scene.published.last().unwrap();
    assert_eq!(last.frame.label.stream, StreamId(9));
}

#[test]
fn a_restarted_sender_takes_its_name_back_at_once_from_datagrams_that_were_forged_meanwhile() {
    let mut scene = Scene::new(rules());
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    scene.end_connections(address(1, 1), true);
    scene.datagram(address(1, 66), labelled("yard", 66, 1));
    let elsewhere = scene.connect(address(2, 1), "yard", 8, None);
    assert_eq!(elsewhere, Err(Refusal::Taken));
    assert!(scene.connect(address(1, 2), "yard", 8, None).is_ok());
}

#[test]
fn a_sender_whose_connection_was_lost_is_followed_by_its_own_host_at_once() {
    let mut scene = Scene::new(rules());
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    scene.disconnect(address(1, 1));
    let elsewhere = scene.connect(address(2, 1), "yard", 8, None);
    assert_eq!(elsewhere, Err(Refusal::Taken));
    assert!(scene.connect(address(1, 2), "yard", 8, None).is_ok());
}

#[test]
fn a_second_sender_by_udp_gets_the_reason_once_a_second_and_never_with_more_bytes_than_it_sent() {
    let mut scene = Scene::new(rules());
    let label = Label::read(&labelled("yard", 2, 1)).unwrap().unwrap();
    let picture = |bytes| Sketch::new(300, 200).segment(0xFE, &vec![0; bytes]).bytes();
    for n in 1..=30 {
        scene.datagram(address(1, 1), labelled("yard", 1, n));
        scene.datagram(address(2, 1), label.write(&picture(2000)));
        scene.pass(100 * MS);
    }
    assert_eq!(scene.refusals(), [Refusal::Taken; 3]);
    let offer = Action::Reply(address(2, 1), Control::Upgrade);
    let offers = scene.other.iter().filter(|action| **action == offer);
    assert_eq!(offers.count(), 3, "and each time QUIC is offered");
    let small = label.write(&picture(0));
    assert!(small.len() < Control::Refused(Refusal::Taken).write().len());
    scene.datagram(address(3, 1), small);
    assert_eq!(scene.refusals().len(), 3);
}

#[test]
fn a_slow_camera_keeps_its_name_and_is_live_between_two_frames() {
    let mut scene = Scene::new(rules());
    for n in 1..=3 {
        scene.datagram(address(1, 1), labelled("yard", 1, n));
        scene.pass(Duration::from_secs(10));
    }
    scene.datagram(address(2, 1), labelled("yard", 2, 1));
    assert_eq!(scene.numbers(), [1, 2, 3]);
    assert_eq!(scene.relay.live_cameras(scene.now), ["yard"]);
}

#[test]
fn two_unlabelled_senders_behind_one_router_are_two_cameras() {
    let mut scene = Scene::new(rules());
    for n in 1..=5 {
        scene.datagram(address(1, 1), plain(n));
        scene.datagram(address(1, 2), plain(n));
        scene.pass(100 * MS);
    }
    assert_eq!(scene.relay.live_cameras(scene.now), ["cam1", "cam2"]);
    assert_eq!(scene.relay.counts().received, 10);
    scene.pass(200 * MS);
    scene.datagram(address(1, 2), plain(6));
    scene.pass(200 * MS);
    scene.datagram(address(1, 3), plain(1));
    let live = scene.relay.live_cameras(scene.now);
    assert_eq!(live, ["cam1", "cam2"], "cam1 goes on from a new port");
}

#[test]
fn a_flood_of_names_from_one_host_keeps_no_other_camera_out() {
    let mut scene = Scene::new(rules());
    for n in 0..200 {
        let camera = format!("flood{n}");
        let _ = scene.connect(address(66, n), &camera, 1, None);
        scene.datagram(address(66, n), labelled(&format!("udp{n}"), 1, 1));
    }
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    assert_eq!(scene.numbers().last(), Some(&1));
    let live = scene.relay.live_cameras(scene.now);
    assert!(live.iter().any(|camera| *camera == "yard"));
    assert!(scene.relay.cameras.iter().count() <= 64);
}

#[test]
fn cameras_that_were_forged_from_a_senders_host_do_not_keep_it_out() {
    let mut scene = Scene::new(rules());
    for host in 1..=64 {
        let camera = format!("forged{host}");
        scene.datagram(address(host, 1000), labelled(&camera, 1, 1));
    }
    assert!(scene.connect(address(1, 1), "yard", 7, None).is_ok());
}

#[test]
fn a_connected_camera_keeps_its_slot_while_it_pauses_whatever_names_appear() {
    let mut scene = Scene::new(rules());
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    for second in 0..70 {
        scene.pass(Duration::from_secs(1));
        for n in 0..100 {
            let from = address(10 + u8::try_from(n).unwrap(), second);
            scene.datagram(from, labelled(&format!("flood{n}"), 1, 1));
        }
    }
    for n in 0..200 {
        let _ = scene.connect(address(66, n), &format!("quic{n}"), 1, None);
    }
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 2));
    let last = scene.published.last().unwrap();
    assert_eq!(
        (last.frame.label.camera.as_str(), last.frame.label.seq),
        ("yard", 2)
    );
    let default = scene.relay.cameras.default_camera(scene.now).unwrap();
    assert_eq!(
        scene.relay.cameras.get(default).name,
        "yard",
        "it came first"
    );
}

#[test]
fn names_under_which_no_frame_comes_keep_no_camera_out() {
    let mut scene = Scene::new(rules());
    for host in 0..64 {
        let camera = format!("idle{host}");
        let _ = scene.connect(address(100 + host, 1), &camera, 1, None);
    }
    let early = scene.connect(address(1, 1), "yard1", 7, None);
    assert_eq!(early, Err(Refusal::Full), "they may begin yet");
    scene.pass(2000 * MS);
    for n in 1..=20 {
        let camera = format!("yard{n}");
        scene.sent_as(&camera, address(1, n), labelled(&camera, 7, 1));
    }
    assert_eq!(scene.published.len(), 20, "{:?}", scene.refusals());
}

#[test]
fn a_sender_that_lost_its_slot_gets_the_reason() {
    let mut scene = Scene::new(rules());
    for n in 0..64 {
        let camera = format!("flood{n}");
        scene.connect(address(66, n), &camera, 1, None).unwrap();
    }
    let refused = scene.connect(address(66, 64), "one more", 1, None);
    assert_eq!(refused, Err(Refusal::Full));
    scene.connect(address(1, 1), "yard", 7, None).unwrap();
    assert_eq!(scene.refusals(), [Refusal::Full]);
    let newest = scene.senders[&(address(66, 63), "flood63".parse().unwrap())].clone();
    let frame = labelled("flood63", 1, 1);
    scene.relay.on_frame(&newest, frame, 5_000_000, scene.now);
    scene.act();
    assert_eq!(scene.refusals(), [Refusal::Full; 2]);
}

#[test]
fn a_household_of_cameras_gets_in_beside_names_that_were_forged_from_as_many_hosts_as_there_are_slots()
 {
    let mut scene = Scene::new(rules());
    for host in 0..64 {
        scene.datagram(
            address(100 + host, 1),
            labelled(&format!("forged{host}"), 1, 1),
        );
    }
    for n in 1..=20 {
        let camera = format!("yard{n}");
        let connected = scene.connect(address(1, n), &camera, 7, None);
        assert!(connected.is_ok(), "camera {n}");
    }
}

#[test]
fn a_sender_that_only_asks_takes_no_name_and_no_slot() {
    let mut scene = Scene::new(rules());
    let asks = |scene: &Scene, camera: &str, host, by_udp| {
        let publisher = Publisher {
            id: SenderId(0),
            address: address(host, 9),
            standing: Standing::Validated,
            camera: camera.parse().unwrap(),
            stream: None,
            transport: Transport::Quic,
        };
        scene.relay.would_admit(&publisher, by_udp, scene.now)
    };
    for by_udp in [false, true] {
        assert_eq!(asks(&scene, "yard", 1, by_udp), Ok(()));
    }
    assert_eq!(scene.relay.cameras.iter().count(), 0);
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    assert_eq!(asks(&scene, "yard", 2, true), Err(Refusal::Taken));
    for n in 0..63 {
        let camera = format!("flood{n}");
        scene.connect(address(66, n), &camera, 1, None).unwrap();
    }
    assert_eq!(asks(&scene, "porch", 2, true), Err(Refusal::Full));
    assert_eq!(
        asks(&scene, "porch", 2, false),
        Ok(()),
        "a connection gets one of many"
    );
    assert_eq!(asks(&scene, "porch", 66, false), Err(Refusal::Full));
    assert_eq!(scene.refusals(), [], "and no other loses its own");
}
