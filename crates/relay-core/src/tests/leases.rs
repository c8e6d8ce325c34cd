//! UDP viewers: leases and the rate limit; and what is not a frame.

use super::*;

#[test]
fn a_fifth_viewer_is_refused_with_the_reason() {
    let mut scene = Scene::new(rules());
    for n in 1..=4 {
        scene.request(viewer(n));
    }
    scene.hello(viewer(5));
    assert_eq!(scene.verdicts(), [LeaseVerdict::Full]);
    assert_eq!(scene.relay.viewers()[0], 4);
    scene.relay.on_unreachable(viewer(2));
    scene.hello(viewer(5));
    assert_eq!(
        scene.verdicts(),
        [LeaseVerdict::Full, LeaseVerdict::Welcome]
    );
    assert_eq!(scene.relay.counts().viewers_peak, 4);
}

#[test]
fn a_viewer_that_returns_the_relays_cookie_gets_the_lease_of_one_that_proves_nothing() {
    let mut scene = Scene::new(RelaySettings {
        udp_viewers: 1,
        ..rules()
    });
    scene.request(viewer(1));
    scene.pass(Duration::from_secs(600));
    scene.request(viewer(2));
    let refused = scene.other.last();
    let note = Note::ViewerRefused(viewer(2), LeaseVerdict::Full);
    assert_eq!(refused, Some(&Action::Log(note)));
    let guessed = Question::new(7, Some(Cookie(1)));
    scene.datagram(viewer(2), Control::Hello(guessed).write());
    assert_eq!(scene.relay.permanent_leases(), [viewer(1)]);
    let Some(Action::Reply(_, Control::Accept { cookie, .. })) = scene.other.last() else {
        panic!("no answer");
    };
    let returned = Question::new(7, *cookie);
    scene.datagram(viewer(2), Control::Hello(returned).write());
    let replaced = [
        Action::CloseViewer(viewer(1)),
        Action::OpenViewer(viewer(2)),
    ];
    let end = scene.other.len() - 1;
    assert_eq!(scene.other[end - 2..end], replaced);
}

/// Sends a probe, and returns the verdict.
fn probe(scene: &mut Scene, viewer: SocketAddr, question: Question) -> LeaseVerdict {
    scene.datagram(viewer, Control::Probe(question).write());
    *scene.verdicts().last().unwrap()
}

#[test]
fn a_probe_is_answered_with_the_prospect_of_a_lease() {
    let mut scene = Scene::new(RelaySettings {
        udp_viewers: 1,
        ..rules()
    });
    let asked = |scene: &mut Scene| probe(scene, viewer(2), Question::new(7, None));
    assert_eq!(asked(&mut scene), LeaseVerdict::Welcome);
    scene.request(viewer(1));
    let prospect = asked(&mut scene);
    assert_eq!(prospect, LeaseVerdict::Welcome, "that one proves nothing");
    scene.proved_hello(viewer(1));
    assert_eq!(asked(&mut scene), LeaseVerdict::Full);
    let holder = probe(&mut scene, viewer(1), Question::new(7, None));
    assert_eq!(holder, LeaseVerdict::Welcome);
    let returned = scene.proved(viewer(1));
    assert_eq!(
        probe(&mut scene, viewer(1), returned),
        LeaseVerdict::Welcome
    );
    assert_eq!(asked(&mut scene), LeaseVerdict::Welcome, "it was released");
    assert!(refusals(&scene).is_empty(), "a probe requests no lease");
}

#[test]
fn a_relay_that_takes_no_udp_viewers_is_told_from_a_full_one() {
    let mut scene = Scene::new(RelaySettings {
        udp_viewers: 0,
        ..rules()
    });
    let asked = probe(&mut scene, viewer(1), Question::new(7, None));
    scene.hello(viewer(2));
    assert_eq!(asked, LeaseVerdict::Closed);
    assert_eq!(scene.verdicts()[1], LeaseVerdict::Closed);
    scene.request(viewer(3));
    assert_eq!(
        refusals(&scene),
        [2, 3].map(|n| (viewer(n), LeaseVerdict::Closed))
    );
}

#[test]
fn a_peer_of_version_0_1_is_sent_verdicts_that_it_knows() {
    let old = Question {
        nonce: 7,
        cookie: None,
    };
    let mut scene = Scene::new(RelaySettings {
        udp_viewers: 0,
        ..rules()
    });
    assert_eq!(probe(&mut scene, viewer(1), old), LeaseVerdict::Welcome);
    scene.datagram(viewer(1), Control::Hello(old).write());
    assert_eq!(scene.verdicts()[1], LeaseVerdict::Full);
}

/// Returns the viewers that the log reports as refused.
fn refusals(scene: &Scene) -> Vec<(SocketAddr, LeaseVerdict)> {
    let refused = |action: &Action| match action {
        Action::Log(Note::ViewerRefused(viewer, verdict)) => Some((*viewer, *verdict)),
        _ => None,
    };
    scene.other.iter().filter_map(refused).collect()
}

#[test]
fn a_viewer_that_may_yet_prove_its_address_is_not_reported_as_refused() {
    let mut scene = Scene::new(rules());
    for n in 1..=4 {
        scene.proved_hello(viewer(n));
    }
    scene.hello(viewer(5));
    assert_eq!(refusals(&scene), []);
    scene.proved_hello(viewer(5));
    assert_eq!(refusals(&scene), [(viewer(5), LeaseVerdict::Full)]);
}

#[test]
fn what_comes_from_a_viewers_address_is_not_a_frame() {
    let mut scene = Scene::watched(rules());
    scene.datagram(viewer(1), plain(1));
    scene.datagram(viewer(1), labelled("yard", 1, 1));
    assert!(scene.published.is_empty());
    assert_eq!(scene.relay.counts().dropped["from_viewer"], 2);
}

#[test]
fn a_cameras_address_gets_no_lease_while_the_camera_is_live() {
    let mut scene = Scene::new(rules());
    scene.datagram(address(1, 1), plain(1));
    scene.request(address(1, 1));
    scene.hello(address(1, 1));
    assert_eq!(scene.relay.viewers()[0], 0);
    assert_eq!(scene.relay.counts().dropped["lease_of_camera"], 2);
    scene.pass(3000 * MS);
    scene.request(address(1, 1));
    assert_eq!(scene.relay.viewers()[0], 1);
}

#[test]
fn a_viewer_that_proves_its_address_gets_its_lease_although_frames_were_forged_from_there() {
    let mut scene = Scene::new(rules());
    scene.datagram(viewer(1), plain(1));
    scene.proved_hello(viewer(1));
    assert_eq!(scene.relay.viewers()[0], 1);
}

#[test]
fn two_relays_with_a_lease_at_each_other_do_not_feed_each_other() {
    let [a, b] = [address(1, 8081), address(2, 8081)];
    let mut scenes = [Scene::new(rules()), Scene::new(rules())];
    scenes[0].request(b);
    scenes[1].request(a);
    scenes[0].datagram(address(3, 1), plain(1));
    let mut hops = 0;
    let mut at = 0;
    while let Some(jpeg) = scenes[at].sent.pop() {
        hops += 1;
        assert!(hops < 10, "a datagram circulates");
        let from = [a, b][at];
        at = 1 - at;
        scenes[at].datagram(from, jpeg);
    }
    assert_eq!(hops, 1);
    assert_eq!(scenes[1].relay.live_cameras(scenes[1].now), [""; 0]);
}

#[test]
fn a_forged_closed_port_costs_a_tutorial_viewer_no_lease() {
    let mut scene = Scene::watched(rules());
    for n in 1..=30 {
        scene.relay.on_refused(viewer(1), scene.now);
        scene.datagram(address(1, 1000), plain(n));
        scene.pass(100 * MS);
    }
    assert_eq!(scene.relay.permanent_leases(), [viewer(1)]);
    scene.pass(3000 * MS);
    let before = scene.sent.len();
    for n in 31..=33 {
        scene.datagram(address(1, 1000), plain(n));
    }
    assert_eq!(scene.sent.len() - before, 3);
}

#[test]
fn a_closed_udp_transport_sends_nobody_anything() {
    let mut scene = Scene::new(RelaySettings {
        udp_viewers: 0,
        ..rules()
    });
    scene.request(viewer(1));
    scene.frames(1..=8);
    assert!(scene.sent.is_empty() && scene.jobs.is_empty());
}

#[test]
fn what_spoofed_requests_draw_is_bounded() {
    let mut scene = Scene::new(RelaySettings {
        udp_viewers: 4,
        udp_egress: 1_000_000,
        every: None,
        ..rules()
    });
    for n in 0..1000 {
        scene.request(viewer(n));
    }
    let big: Bytes = Sketch::new(300, 200)
        .segment(0xFE, &[0; 50_000])
        .bytes()
        .into();
    let mut bits = 0;
    for _ in 0..1000 {
        scene
            .relay
            .on_datagram(address(1, 1), big.clone(), 0, scene.now);
        while let Some(action) = scene.relay.next_action() {
            if let Action::Forward(forward) = action {
                bits += 8 * forward.jpeg.len() * forward.viewers.len();
            }
        }
        scene.pass(10 * MS);
    }
    assert!(
        bits <= 10_500_000 && bits > 9_000_000,
        "{bits} bits in 10 s at 1 Mbit/s"
    );
}

#[test]
fn a_viewer_that_falls_silent_is_let_go() {
    let mut scene = Scene::new(rules());
    scene.proved_hello(viewer(1));
    scene.pass(Duration::from_secs(11));
    assert_eq!(*scene.other.last().unwrap(), Action::CloseViewer(viewer(1)));
    assert_eq!(scene.relay.viewers()[0], 0);
}

#[test]
fn control_messages_are_never_counted_as_frames() {
    let mut scene = Scene::watched(rules());
    scene.hello(viewer(2));
    scene.datagram(address(1, 1), Control::Upgrade.write());
    assert_eq!(scene.relay.counts().received, 0);
    assert!(scene.sent.is_empty());
}

#[test]
fn garbage_is_counted_by_reason_and_what_other_software_sends_is_reported_once() {
    let mut scene = Scene::watched(rules());
    scene.datagram(address(1, 1), &b"hello there"[..]);
    scene.datagram(address(1, 1), vec![9; 1472]);
    scene.datagram(address(1, 1), vec![9; 1472]);
    scene.datagram(address(2, 1), &b"\0\0\0\x01\x67"[..]);
    assert_eq!(
        scene.relay.counts().dropped,
        BTreeMap::from([("not_jpeg", 2), ("piece", 2)])
    );
    let piece = Foreign::FfmpegPiece;
    let actions = [
        Action::Log(Note::Foreign(piece, address(1, 1))),
        Action::PublishForeign(Some(piece)),
        Action::Log(Note::Foreign(Foreign::H264, address(2, 1))),
    ];
    assert_eq!(scene.other, actions);
    scene.other.clear();
    scene.pass(2999 * MS);
    assert_eq!(scene.other, []);
    scene.pass(MS);
    assert_eq!(scene.other, [Action::PublishForeign(None)]);
    scene.datagram(address(2, 1), &b"\0\0\0\x01\x67"[..]);
    let known = [Action::PublishForeign(Some(Foreign::H264))];
    assert_eq!(scene.other[1..], known, "{:?}", scene.other);
}

#[test]
fn a_relay_that_is_private_after_a_restart_gives_no_viewer_of_before_a_lease() {
    for (private, leases) in [(true, 0), (false, 1)] {
        let mut scene = Scene::new(RelaySettings { private, ..rules() });
        scene.relay.restore_leases([viewer(1)], scene.now);
        scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
        assert_eq!(scene.relay.viewers()[0], leases);
        assert_eq!(scene.forwards.len(), leases);
    }
}

#[test]
fn a_request_in_a_quic_cameras_name_gets_no_lease() {
    let mut scene = Scene::new(rules());
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    scene.request(address(1, 1));
    scene.hello(address(1, 1));
    assert_eq!(scene.relay.viewers()[0], 0);
    scene.proved_hello(address(1, 1));
    assert_eq!(scene.relay.viewers()[0], 1, "its program may watch too");
}
