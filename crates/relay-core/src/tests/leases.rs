//! UDP viewers: leases and the rate limit; and what is not a frame.

use super::*;

#[test]
fn a_fifth_viewer_is_refused_with_the_reason() {
    let mut scene = Scene::new(rules());
    for n in 1..=4 {
        scene.request(viewer(n));
    }
    scene.hello(viewer(5));
    let full = Control::Accept {
        nonce: 7,
        verdict: LeaseVerdict::Full,
    };
    assert_eq!(*scene.other.last().unwrap(), Action::Reply(viewer(5), full));
    assert_eq!(scene.relay.viewers()[0], 4);
    scene.relay.on_unreachable(viewer(2));
    scene.hello(viewer(5));
    let welcome = Control::Accept {
        nonce: 7,
        verdict: LeaseVerdict::Welcome,
    };
    assert_eq!(
        *scene.other.last().unwrap(),
        Action::Reply(viewer(5), welcome)
    );
    assert_eq!(scene.relay.counts().viewers_peak, 4);
}

#[test]
fn a_full_relay_gives_up_only_a_lease_that_was_not_renewed_for_60_s() {
    let mut scene = Scene::new(RelaySettings {
        udp_viewers: 1,
        ..rules()
    });
    scene.request(viewer(1));
    scene.pass(Duration::from_secs(59));
    scene.request(viewer(2));
    assert!(matches!(
        scene.other.last(),
        Some(Action::Log(Note::LeasesFull(_)))
    ));
    scene.pass(Duration::from_secs(1));
    scene.request(viewer(2));
    assert_eq!(
        scene.other[scene.other.len() - 2..],
        [
            Action::CloseViewer(viewer(1)),
            Action::OpenViewer(viewer(2))
        ]
    );
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
    scene.hello(viewer(1));
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
fn garbage_is_counted_by_reason_and_ffmpegs_pieces_are_explained_once() {
    let mut scene = Scene::watched(rules());
    scene.datagram(address(1, 1), &b"hello there"[..]);
    scene.datagram(address(1, 1), vec![9; 1472]);
    scene.datagram(address(1, 1), vec![9; 1472]);
    assert_eq!(
        scene.relay.counts().dropped,
        BTreeMap::from([("not_jpeg", 1), ("piece", 2)])
    );
    assert_eq!(scene.other, [Action::Log(Note::Pieces(address(1, 1)))]);
}
