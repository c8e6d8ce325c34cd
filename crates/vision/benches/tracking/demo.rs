//! The demo's scene, as its sender encodes it, with its exact truth.

use std::ops::Range;

use bytes::Bytes;
use ort::environment::Environment;
use protocol::geometry::Size;
use scene::Scene;
use testkit::boxes;
use vision::detect::Model;

use crate::{Clip, FPS, infer, outlines};

const SIZE: Size = Size {
    width: 300,
    height: 200,
};
const QUALITY: u8 = 80;
/// Frames of a clip: 20 s.
const FRAMES: u64 = 200;

/// Returns one clip of each scene.
pub(crate) fn clips(runtime: &Environment, seeds: Range<u64>, speed: f64) -> Vec<Clip> {
    let clip = |seed| {
        let scene = Scene::new(seed, SIZE, FPS, speed).unwrap();
        let encode = |n| imaging::jpeg::encode(&scene.draw(n).unwrap(), QUALITY).unwrap();
        let frames: Vec<Bytes> = (0..FRAMES).map(|n| encode(n).into()).collect();
        let truth = (0..FRAMES).map(|n| outlines(&scene.truth(n).unwrap()));
        let mut truth: Vec<_> = truth.collect();
        boxes::assign_ids(&mut truth, [SIZE.width, SIZE.height].map(f32::from));
        Clip {
            found: infer(runtime, &Model::Demo, &frames),
            truth,
            frames,
        }
    };
    seeds.map(clip).collect()
}
