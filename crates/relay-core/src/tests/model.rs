//! Rules of how often the model looks.

use super::*;

fn auto(rest: f64) -> Scene {
    let mut scene = Scene::new(RelaySettings {
        every: Some(Every::Auto),
        model_rest_factor: rest,
        ..rules()
    });
    scene.relay.subscribe(SubscriberId(1), None);
    scene
}

/// The frames that the model looks at, of `frames` that come each 10 ms, where it works on one for `took` ms.
fn looked_at(mut scene: Scene, frames: u64, took: u32) -> Vec<u64> {
    let mut worked = 0;
    for ms in 0..10 * frames {
        if ms % 10 == 0 {
            scene.datagram(address(1, 1000), plain(ms / 10 + 1));
        }
        worked = if scene.relay.schedule.is_idle() {
            0
        } else {
            worked + 1
        };
        if worked > took {
            scene.answer_last();
            worked = 0;
        }
        scene.pass(MS);
    }
    scene.jobs.iter().map(|job| job.count).collect()
}

#[test]
fn auto_takes_the_newest_frame_whenever_the_model_is_free() {
    assert_eq!(looked_at(auto(0.0), 13, 35), [1, 4, 8, 11]);
    let fast = looked_at(auto(0.0), 5, 8);
    assert_eq!(fast, [1, 2, 3, 4, 5], "all, where the model keeps up");
}

#[test]
fn auto_rests_so_long_that_the_model_keeps_within_its_share() {
    for (rest, looks) in [(0.0, 27..=29), (1.0, 14..=15), (3.0, 7..=8)] {
        let seen = looked_at(auto(rest), 100, 35);
        assert!(looks.contains(&seen.len()), "{rest}: {seen:?}");
    }
}

#[test]
fn a_frame_that_waits_for_the_end_of_a_rest_is_taken_without_another_one() {
    let mut scene = auto(1.0);
    scene.datagram(address(1, 1000), plain(1));
    scene.pass(40 * MS);
    scene.answer_last();
    scene.datagram(address(1, 1000), plain(2));
    assert_eq!(scene.jobs.len(), 1);
    scene.pass(39 * MS);
    assert_eq!(scene.jobs.len(), 1, "it rests");
    scene.pass(MS);
    assert_eq!(scene.jobs[1].count, 2);
}

#[test]
fn auto_counts_no_frame_as_missed() {
    let mut scene = auto(0.0);
    scene.frames(1..=20);
    assert_eq!(scene.relay.counts().not_inferred, 0);
}

#[test]
fn with_auto_a_busy_camera_starves_no_other() {
    let mut scene = Scene::new(RelaySettings {
        every: Some(Every::Auto),
        output_reads_detections: true,
        ..rules()
    });
    let mut looks = [0, 0];
    for tick in 0..100 {
        scene.datagram(address(1, 1000), labelled("busy", 1, tick + 1));
        if tick % 10 == 0 {
            scene.datagram(address(2, 1000), labelled("quiet", 2, tick + 1));
        }
        scene.pass(10 * MS);
        if tick % 5 == 4 {
            looks[scene.jobs.last().unwrap().camera.0] += 1;
            scene.answer_last();
        }
    }
    assert_eq!(looks, [10, 10]);
}

#[test]
fn a_fixed_number_asks_for_no_rest() {
    let mut scene = Scene::new(RelaySettings {
        every: Some("1".parse().unwrap()),
        model_rest_factor: 5.0,
        output_reads_detections: true,
        ..rules()
    });
    scene.datagram(address(1, 1000), plain(1));
    scene.pass(40 * MS);
    scene.answer_last();
    scene.datagram(address(1, 1000), plain(2));
    assert_eq!(scene.jobs.len(), 2);
}

#[test]
fn a_model_that_takes_several_pictures_is_given_the_newest_of_each_camera_at_once() {
    let mut scene = Scene::new(RelaySettings {
        every: Some("1".parse().unwrap()),
        batch: 2,
        output_reads_detections: true,
        ..rules()
    });
    for host in 1..=4 {
        scene.datagram(address(host, 1000), labelled(&format!("cam-{host}"), 1, 1));
    }
    let cameras = |scene: &Scene| {
        scene
            .jobs
            .iter()
            .map(|job| job.camera.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(cameras(&scene), [0], "the first finds the model free");
    scene.answer_last();
    assert_eq!(cameras(&scene), [0, 1, 2]);
    scene.answer_last();
    assert_eq!(cameras(&scene), [0, 1, 2, 3]);
}

#[test]
fn a_camera_whose_detection_is_switched_off_is_not_inferred_and_its_frames_go_on() {
    let mut scene = Scene::watched(RelaySettings {
        output_reads_detections: true,
        ..rules()
    });
    let name: CameraName = "yard".parse().unwrap();
    let mut seq = 0;
    let mut second = |scene: &mut Scene| {
        for _ in 0..10 {
            seq += 1;
            scene.datagram(address(1, 1000), labelled("yard", 1, seq));
            scene.pass(100 * MS);
            if !scene.relay.schedule.is_idle() {
                scene.answer_last();
            }
        }
        (scene.jobs.len(), scene.sent.len())
    };
    let (jobs, _) = second(&mut scene);
    assert!(jobs >= 2);
    let now = scene.now;
    assert!(scene.relay.set_detection(name.clone(), false, now));
    assert_eq!(scene.relay.undetected().collect::<Vec<_>>(), [&name]);
    let (off, sent) = second(&mut scene);
    assert_eq!(
        (off, sent),
        (jobs, 20),
        "each frame leaves, and none is inferred"
    );
    assert!(scene.relay.set_detection(name, true, now));
    assert!(second(&mut scene).0 > jobs);
}

#[test]
fn the_frame_that_waits_for_boxes_leaves_when_detection_is_switched_off() {
    let mut scene = Scene::watched(rules());
    for seq in 1..=4 {
        scene.datagram(address(1, 1000), labelled("yard", 1, seq));
    }
    assert_eq!(scene.sent.len(), 3, "the fourth is held");
    let now = scene.now;
    scene
        .relay
        .set_detection("yard".parse().unwrap(), false, now);
    scene.act();
    assert_eq!(scene.sent.len(), 4);
}

#[test]
fn switches_without_end_have_a_bound() {
    let mut scene = Scene::new(rules());
    let now = scene.now;
    let mut switch = |n: usize, on| {
        let name = format!("cam-{n}").parse().unwrap();
        scene.relay.set_detection(name, on, now)
    };
    let taken = (0..1000).filter(|n| switch(*n, false)).count();
    assert_eq!(taken, protocol::quic::MAX_CAMERAS);
    assert!(switch(0, false) && switch(999, true) && switch(0, true));
    assert!(switch(999, false), "there is room again");
}
