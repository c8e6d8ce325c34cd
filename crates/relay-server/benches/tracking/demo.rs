//! The demo's scene, as its sender encodes it, with its exact truth.

use std::ops::Range;

use bytes::Bytes;
use ort::environment::Environment;
use pi_sender::source::Demo;
use platform::config::Size;
use protocol::detections::Detection;
use relay_server::detect::Model;

use crate::{Clip, FPS, look};

const SIZE: Size = Size {
    width: 300,
    height: 200,
};
const QUALITY: u8 = 80;
/// 20 s.
const FRAMES: u64 = 200;
/// No thing moves farther in a frame, in pixels.
const STEP: f32 = 25.0;

/// One clip of each scene.
pub(crate) fn clips(runtime: &Environment, seeds: Range<u64>, speed: f64) -> Vec<Clip> {
    let clip = |seed| {
        let scene = Demo::new(seed, SIZE, FPS, speed).unwrap();
        let encode = |n| platform::jpeg::encode(&scene.draw(n).unwrap(), QUALITY).unwrap();
        let frames: Vec<Bytes> = (0..FRAMES).map(|n| encode(n).into()).collect();
        let truth = (0..FRAMES).map(|n| scene.truth(n).unwrap()).collect();
        Clip {
            found: look(runtime, &Model::Demo, &frames),
            truth: name(truth),
            frames,
        }
    };
    seeds.map(clip).collect()
}

/// A thing as it was last seen.
struct Thing {
    id: u64,
    class: usize,
    centre: [f32; 2],
    frame: usize,
}

/// The scene's truth names no things, so they are told apart by their class and their way.
fn name(mut truth: Vec<Vec<Detection>>) -> Vec<Vec<Detection>> {
    let mut things: Vec<Thing> = Vec::new();
    for (frame, boxes) in truth.iter_mut().enumerate() {
        for found in boxes {
            let centre = centre(found.bounds);
            let way =
                |thing: &Thing| (thing.centre[0] - centre[0]).hypot(thing.centre[1] - centre[1]);
            let known = things
                .iter_mut()
                .filter(|thing| thing.class == found.class && thing.frame < frame)
                .filter(|thing| way(thing) < STEP * (frame - thing.frame) as f32)
                .min_by(|a, b| way(a).total_cmp(&way(b)));
            if let Some(thing) = known {
                (thing.centre, thing.frame) = (centre, frame);
                found.id = Some(thing.id);
                continue;
            }
            let id = things.len() as u64;
            found.id = Some(id);
            things.push(Thing {
                id,
                class: found.class,
                centre,
                frame,
            });
        }
    }
    truth
}

/// In pixels.
fn centre([x0, y0, x1, y1]: [f32; 4]) -> [f32; 2] {
    let (w, h) = (f32::from(SIZE.width), f32::from(SIZE.height));
    [w * f32::midpoint(x0, x1), h * f32::midpoint(y0, y1)]
}
