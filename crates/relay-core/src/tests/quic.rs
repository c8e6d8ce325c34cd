//! Rules of the QUIC transport and of the subscribers.

use protocol::quic::SenderInfo;

use super::*;

fn name(text: &str) -> CameraName {
    text.parse().unwrap()
}

impl Scene {
    /// A frame of `yard` by QUIC.
    fn sent(&mut self, from: SocketAddr, stream: u64, seq: u64) {
        self.sent_as("yard", from, labelled("yard", stream, seq));
    }

    fn upgrades(&self) -> usize {
        let upgrade = |action: &&Action| matches!(action, Action::Reply(_, Control::Upgrade));
        self.other.iter().filter(upgrade).count()
    }

    fn seqs(&self) -> Vec<(u64, bool)> {
        let seq = |publication: &Publication| publication.frame.label.seq;
        self.published
            .iter()
            .map(|frame| (seq(frame), frame.reordered))
            .collect()
    }
}

#[test]
fn a_frame_by_quic_reaches_subscribers_and_udp_viewers_untouched_and_at_once() {
    let mut scene = Scene::watched(rules());
    scene.sent(address(1, 1000), 1, 1);
    let frame = labelled("yard", 1, 1);
    assert_eq!(scene.sent, std::slice::from_ref(&frame));
    assert_eq!(*scene.published[0].frame.jpeg(), frame);
    assert!(scene.published[0].is_default && !scene.published[0].reordered);
}

#[test]
fn a_frame_that_waits_for_its_boxes_reaches_subscribers_at_once() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=3);
    scene.datagram(address(1, 1000), plain(4));
    assert_eq!((scene.sent.len(), scene.published.len()), (3, 4));
}

#[test]
fn subscribers_see_a_label_on_frames_that_came_without_and_udp_viewers_do_not() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=2);
    let label = scene.published[1].frame.label.clone();
    assert_eq!((label.camera.as_str(), label.seq), ("cam1", 2));
    assert_eq!(
        (label.captured_us, label.stream),
        (5_000_000, StreamId(0xBEE))
    );
    assert_eq!(scene.sent[1], plain(2));
}

#[test]
fn a_frame_that_its_successor_overtook_is_still_good_for_subscribers_and_for_nobody_else() {
    let mut scene = Scene::watched(RelaySettings {
        every: Some("1".parse().unwrap()),
        overlay: Overlay::None,
        ..rules()
    });
    scene.relay.subscribe(SubscriberId(1), None);
    for seq in [1, 3, 2, 2, 3] {
        scene.sent(address(1, 1), 7, seq);
    }
    assert_eq!(scene.seqs(), [(1, false), (3, false), (2, true)]);
    assert_eq!(scene.sent, [labelled("yard", 7, 1), labelled("yard", 7, 3)]);
    assert_eq!(scene.relay.counts().dropped["late"], 2);
    assert_eq!(scene.relay.counts().received, 3);
    assert_eq!(
        scene.jobs.len(),
        1,
        "the model is busy with the first, and never gets a late one"
    );
}

#[test]
fn a_frame_by_udp_that_its_successor_overtook_is_dropped() {
    let mut scene = Scene::watched(rules());
    for seq in [1, 3, 2] {
        scene.datagram(address(1, 1), labelled("yard", 7, seq));
    }
    assert_eq!(scene.seqs(), [(1, false), (3, false)]);
}

#[test]
fn a_sender_of_ours_is_told_of_quic_every_5_s_and_a_tutorial_sender_never() {
    let mut scene = Scene::new(rules());
    for n in 1..=120 {
        scene.datagram(address(1, 1), labelled("yard", 7, n));
        scene.datagram(address(2, 1), plain(n));
        scene.pass(100 * MS);
    }
    assert_eq!(scene.upgrades(), 3);
    assert!(scene.other.iter().all(|action| match action {
        Action::Reply(to, _) => *to == address(1, 1),
        _ => true,
    }));
    let cookie = scene.relay.cameras.of_address(address(1, 1));
    scene
        .connect(address(1, 2), "yard", 7, Some(cookie))
        .unwrap();
    scene.sent(address(1, 2), 7, 121);
    scene.pass(10_000 * MS);
    scene.sent(address(1, 2), 7, 122);
    assert_eq!(scene.upgrades(), 3, "a sender by QUIC needs none");
}

#[test]
fn no_frame_draws_an_upgrade_that_is_larger_than_itself() {
    let label = Label::read(&labelled("yard", 7, 1)).unwrap().unwrap();
    let tiny = Bytes::from(label.write(&Sketch::new(8, 8).bytes()));
    assert!(tiny.len() < Control::Upgrade.write().len());
    for private in [false, true] {
        let mut scene = Scene::new(RelaySettings { private, ..rules() });
        scene.datagram(address(1, 1), tiny.clone());
        assert_eq!(scene.upgrades(), 0);
        scene.datagram(address(1, 1), labelled("yard", 7, 2));
        assert_eq!(scene.upgrades(), 1);
    }
}

#[test]
fn a_private_relay_takes_nothing_by_udp_and_says_so_to_our_own_programs_alone() {
    let mut scene = Scene::new(RelaySettings {
        private: true,
        ..rules()
    });
    scene.request(viewer(1));
    scene.datagram(address(2, 1), plain(1));
    let note = Note::ViewerRefused(viewer(1), LeaseVerdict::Private);
    assert_eq!(scene.other, [Action::Log(note)], "no answer");
    scene.hello(viewer(2));
    scene.datagram(viewer(3), Control::Probe(Question::new(1, None)).write());
    assert_eq!(scene.verdicts(), [LeaseVerdict::Private; 2]);
    for n in 0..100 {
        scene.datagram(address(1, 1), labelled("yard", 7, n));
        scene.pass(10 * MS);
    }
    assert_eq!(scene.upgrades(), 5, "five in a second, whoever knocks");
    assert!(scene.sent.is_empty() && scene.published.is_empty());
    assert_eq!(scene.relay.viewers(), [0, 0]);
    assert_eq!(scene.relay.counts().dropped["private"], 102);
    scene.sent(address(1, 2), 7, 101);
    assert_eq!(scene.published.len(), 1, "with a ticket it may");
}

#[test]
fn a_probe_takes_no_lease_and_with_the_cookie_it_ends_one() {
    let mut scene = Scene::new(rules());
    let probe = Control::Probe(scene.proved(viewer(1))).write();
    scene.datagram(viewer(1), probe.clone());
    assert_eq!(
        (scene.verdicts(), scene.relay.viewers()[0]),
        (vec![LeaseVerdict::Welcome], 0)
    );
    scene.hello(viewer(1));
    assert_eq!(scene.relay.viewers()[0], 1);
    let forged = Control::Probe(Question::new(1, None)).write();
    scene.datagram(viewer(1), forged);
    assert_eq!(scene.relay.viewers()[0], 1);
    scene.datagram(viewer(1), probe);
    assert_eq!(scene.relay.viewers()[0], 0);
    assert!(scene.other.contains(&Action::CloseViewer(viewer(1))));
}

#[test]
fn the_model_gets_the_cameras_that_are_watched_and_no_other() {
    let every = RelaySettings {
        every: Some("1".parse().unwrap()),
        ..rules()
    };
    let cameras = |scene: &mut Scene| {
        for n in 1..=4 {
            for (host, camera) in [(1, "yard"), (2, "drive")] {
                scene.sent_as(camera, address(host, 1), labelled(camera, 7, n));
                while let Some(job) = scene.jobs.pop() {
                    scene.answer(&job, person());
                }
            }
            scene.pass(100 * MS);
        }
        let told = |action: &Action| match action {
            Action::PublishDetections(message) => Some(message.camera.clone()),
            _ => None,
        };
        let mut told: Vec<_> = scene.other.iter().filter_map(told).collect();
        told.dedup();
        told
    };
    let watch = |asked: Option<&str>| {
        let mut scene = Scene::new(every.clone());
        scene.relay.subscribe(SubscriberId(1), asked.map(name));
        cameras(&mut scene)
    };
    assert_eq!(watch(Some("drive")), ["drive"]);
    assert_eq!(watch(None), ["yard"], "the first that is live");
    assert_eq!(watch(Some("roof")), [""; 0]);
    let mut scene = Scene::new(every.clone());
    scene.relay.subscribe(SubscriberId(1), None);
    scene.relay.unsubscribe(SubscriberId(1));
    assert_eq!(cameras(&mut scene), [""; 0]);
}

#[test]
fn it_is_told_which_cameras_are_live_when_that_changes() {
    let mut scene = Scene::new(rules());
    scene.sent_as("yard", address(1, 1), labelled("yard", 7, 1));
    scene.pass(1000 * MS);
    scene.sent_as("drive", address(2, 1), labelled("drive", 7, 1));
    scene.pass(2500 * MS);
    scene.sent_as("drive", address(2, 1), labelled("drive", 7, 2));
    scene.pass(9000 * MS);
    let both = vec![name("yard"), name("drive")];
    assert_eq!(
        scene.live,
        [both[..1].to_vec(), both.clone(), both[1..].to_vec(), vec![]]
    );
}

#[test]
fn a_sender_may_not_send_as_another_camera_than_it_said() {
    let mut scene = Scene::new(rules());
    scene.sent_as("drive", address(1, 1), labelled("yard", 7, 1));
    scene.sent_as("drive", address(1, 1), &b"Request"[..]);
    assert!(scene.published.is_empty());
    let dropped: Vec<_> = scene.relay.counts().dropped.clone().into_iter().collect();
    assert_eq!(dropped, [("control", 1), ("misnamed", 1)]);
    scene.sent_as("drive", address(1, 1), plain(1));
    assert_eq!(
        scene.published[0].frame.label.camera, "drive",
        "a frame without a label is its sender's"
    );
}

#[test]
fn only_the_owner_of_a_camera_reports_its_quality() {
    let mut scene = Scene::new(rules());
    scene.sent(address(1, 1), 7, 1);
    let info = SenderInfo {
        quality: Some(50),
        ..SenderInfo::default()
    };
    scene.relay.on_sender_info(SenderId(99), info);
    let owner = scene.senders.values().next().unwrap().id;
    scene.relay.on_sender_info(owner, info);
    scene.act();
    let published: Vec<_> = scene
        .other
        .iter()
        .filter(|action| matches!(action, Action::PublishSenderInfo(..)))
        .collect();
    assert_eq!(published, [&Action::PublishSenderInfo(name("yard"), info)]);
}
