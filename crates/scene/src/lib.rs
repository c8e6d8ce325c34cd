//! The demo scene: generated pictures of moving objects whose true boxes are known.
//!
//! A picture is a function of seed, size, speed and the frame's time alone, so a run can be repeated to the pixel, and a
//! detector can be judged on it without boxes drawn by hand. The demo model is trained on renderings of this crate: a
//! change of how an object looks needs a new training (`models/README.md`).

mod paint;
mod random;

use anyhow::Context as _;
use opencv::core::{self, CV_8UC1, Mat, Point2d, Rect, Scalar};
use opencv::prelude::*;
use protocol::detections::Detection;
use protocol::geometry::{BBox, Size};

use random::Random;

/// Size of the picture that lengths refer to; others are scaled.
const REFERENCE_SIZE: (f64, f64) = (300.0, 200.0);
/// Half the height of an object there. A detector needs objects of 45 pixels and more.
const RADIUS_RANGE: (f64, f64) = (24.0, 31.0);
/// Number of objects.
const OBJECT_COUNT: (usize, usize) = (4, 6);
/// Least visible share of an object in the truth.
const MIN_VISIBLE_SHARE: f64 = 0.4;
/// Strength of the camera's noise, in grey levels.
const NOISE_STRENGTH: i32 = 4;

/// The shape of an object. The order is that of the demo model's classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A shaded disc.
    Ball,
    /// A square of planks.
    Crate,
    /// A striped triangle on a foot.
    Cone,
    /// Five points, turning.
    Star,
    /// A disc with a hole that shows what is behind.
    Ring,
}

impl Shape {
    /// All shapes; a class is the index in this list.
    const ALL: [Self; 5] = [Self::Ball, Self::Crate, Self::Cone, Self::Star, Self::Ring];

    /// Returns the class's name.
    fn name(self) -> &'static str {
        match self {
            Self::Ball => "ball",
            Self::Crate => "crate",
            Self::Cone => "cone",
            Self::Star => "star",
            Self::Ring => "ring",
        }
    }

    fn class(self) -> usize {
        self as usize
    }
}

/// A scene of a seed.
#[derive(Debug)]
pub struct Scene {
    size: Size,
    fps: f64,
    background: Mat,
    noise: Mat,
    /// Drawn in this order: the last one is in front.
    objects: Vec<Object>,
}

/// One moving object.
#[derive(Debug)]
struct Object {
    shape: Shape,
    /// Half the height in pixels.
    radius: f64,
    start: Point2d,
    /// Pixels a second.
    velocity: Point2d,
    /// Radians, and radians a second; only a star turns.
    angle: f64,
    spin: f64,
    colour: Scalar,
    accent: Scalar,
}

/// Position of an object at one time.
#[derive(Debug, Clone, Copy)]
struct Pose {
    centre: Point2d,
    radius: f64,
    angle: f64,
}

impl Scene {
    /// Returns the scene of a seed, whose objects move at `speed` pixels a second.
    ///
    /// # Errors
    /// OpenCV's own; none is known.
    pub fn new(seed: u64, size: Size, fps: f64, speed: f64) -> anyhow::Result<Self> {
        let mut random = Random::new(seed);
        let background =
            paint::background(&mut random, size).context("painting the scene's background")?;
        let noise = paint::noise(&mut random, size, NOISE_STRENGTH)?;
        Ok(Self {
            size,
            fps,
            background,
            noise,
            objects: objects(&mut random, size, speed),
        })
    }

    /// Draws the picture of a frame, counted from 0.
    ///
    /// # Errors
    /// As [`Scene::new`].
    pub fn draw(&self, index: u64) -> anyhow::Result<Mat> {
        let mut picture = self.background.clone();
        for object in &self.objects {
            let pose = object.pose(self.time(index), self.size);
            paint::object(
                &mut picture,
                object.shape,
                pose,
                object.colour,
                object.accent,
            )?;
        }
        let mut random = Random::new(index);
        let corner = |most: i32, random: &mut Random| random.below(most as usize + 1) as i32;
        let (x, y) = (
            corner(self.noise.cols() - picture.cols(), &mut random),
            corner(self.noise.rows() - picture.rows(), &mut random),
        );
        let window = Rect::new(x, y, picture.cols(), picture.rows());
        let noise = Mat::roi(&self.noise, window)?;
        let mut out = Mat::default();
        core::add_weighted(
            &picture,
            1.0,
            &noise,
            1.0,
            f64::from(-NOISE_STRENGTH),
            &mut out,
            -1,
        )?;
        Ok(out)
    }

    /// Returns the true boxes of a frame: the whole outline of each object of which enough is visible.
    ///
    /// # Errors
    /// As [`Scene::new`].
    pub fn truth(&self, index: u64) -> anyhow::Result<Vec<Detection>> {
        let poses: Vec<Pose> = self.poses(index).collect();
        let mut boxes = Vec::new();
        for (index, object) in self.objects.iter().enumerate() {
            if self.visible_share(&poses, index)? >= MIN_VISIBLE_SHARE {
                boxes.push(Detection {
                    id: None,
                    class: object.shape.class(),
                    label: object.shape.name().to_owned(),
                    score: 1.0,
                    fading: false,
                    bbox: self.normalised(paint::bounds(object.shape, poses[index])),
                });
            }
        }
        Ok(boxes)
    }

    fn time(&self, index: u64) -> f64 {
        index as f64 / self.fps
    }

    fn poses(&self, index: u64) -> impl Iterator<Item = Pose> {
        let time = self.time(index);
        self.objects
            .iter()
            .map(move |object| object.pose(time, self.size))
    }

    /// Returns the share of an object that is not behind others.
    fn visible_share(&self, poses: &[Pose], index: usize) -> anyhow::Result<f64> {
        let (rows, cols) = (self.size.height.into(), self.size.width.into());
        let mut mask = Mat::new_rows_cols_with_default(rows, cols, CV_8UC1, Scalar::all(0.0))?;
        paint::mask(&mut mask, self.objects[index].shape, poses[index], 255.0)?;
        let whole = core::count_non_zero(&mask)?;
        for (front, pose) in self.objects.iter().zip(poses).skip(index + 1) {
            paint::mask(&mut mask, front.shape, *pose, 0.0)?;
        }
        Ok(f64::from(core::count_non_zero(&mask)?) / f64::from(whole.max(1)))
    }

    fn normalised(&self, [x0, y0, x1, y1]: [f64; 4]) -> BBox {
        let (w, h) = (f64::from(self.size.width), f64::from(self.size.height));
        let edges = [x0 / w, y0 / h, x1 / w, y1 / h].map(|x| x.clamp(0.0, 1.0) as f32);
        edges.into()
    }
}

impl Object {
    fn pose(&self, time: f64, size: Size) -> Pose {
        let reach = paint::reach(self.shape, self.radius);
        let along = |start: f64, velocity: f64, side: u16| {
            bounce(start + velocity * time, reach, f64::from(side) - reach)
        };
        Pose {
            centre: Point2d::new(
                along(self.start.x, self.velocity.x, size.width),
                along(self.start.y, self.velocity.y, size.height),
            ),
            radius: self.radius,
            angle: self.angle + self.spin * time,
        }
    }
}

/// Returns one object of each shape, shuffled, or one fewer or more.
fn objects(random: &mut Random, size: Size, speed: f64) -> Vec<Object> {
    let mut shapes = Shape::ALL.to_vec();
    random.shuffle(&mut shapes);
    shapes.push(Shape::ALL[random.below(Shape::ALL.len())]);
    shapes.truncate(OBJECT_COUNT.0 + random.below(OBJECT_COUNT.1 - OBJECT_COUNT.0 + 1));
    shapes
        .into_iter()
        .map(|shape| object(random, shape, size, speed))
        .collect()
}

fn object(random: &mut Random, shape: Shape, size: Size, speed: f64) -> Object {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let scale = (width / REFERENCE_SIZE.0).min(height / REFERENCE_SIZE.1);
    let heading = random.between(0.0, std::f64::consts::TAU);
    let colour = random.vivid();
    Object {
        shape,
        radius: scale * random.between(RADIUS_RANGE.0, RADIUS_RANGE.1),
        start: Point2d::new(random.between(0.0, width), random.between(0.0, height)),
        velocity: Point2d::new(speed * heading.cos(), speed * heading.sin()),
        angle: random.between(0.0, std::f64::consts::TAU),
        spin: random.between(-0.8, 0.8),
        colour,
        accent: random.accent(colour),
    }
}

/// Returns a straight path folded into `low..=high`, as of a ball between two walls.
fn bounce(x: f64, low: f64, high: f64) -> f64 {
    let span = high - low;
    if span <= 0.0 {
        return f64::midpoint(low, high);
    }
    let along = (x - low).rem_euclid(2.0 * span);
    low + if along <= span {
        along
    } else {
        2.0 * span - along
    }
}

#[cfg(test)]
mod tests {
    use opencv::imgproc;

    use super::*;

    const SIZE: Size = Size {
        width: 300,
        height: 200,
    };

    fn scene(seed: u64) -> Scene {
        Scene::new(seed, SIZE, 10.0, 60.0).unwrap()
    }

    fn pixels(scene: &Scene, index: u64) -> Vec<u8> {
        scene.draw(index).unwrap().data_bytes().unwrap().to_vec()
    }

    #[test]
    fn the_same_seed_gives_the_same_pixels_and_another_one_does_not() {
        assert_eq!(pixels(&scene(7), 41), pixels(&scene(7), 41));
        assert_ne!(pixels(&scene(7), 41), pixels(&scene(7), 42));
        assert_ne!(pixels(&scene(7), 41), pixels(&scene(8), 41));
    }

    #[test]
    fn boxes_lie_in_the_picture_and_are_large_enough_for_a_detector() {
        for seed in 0..20 {
            let scene = scene(seed);
            for detection in (0..200).step_by(7).flat_map(|n| scene.truth(n).unwrap()) {
                let [x0, y0, x1, y1] = detection.bbox.edges();
                assert!(
                    detection
                        .bbox
                        .edges()
                        .iter()
                        .all(|x| (0.0..=1.0).contains(x))
                );
                let sides = ((x1 - x0) * 300.0, (y1 - y0) * 200.0);
                assert!(
                    sides.0 >= 45.0 && sides.1 >= 45.0,
                    "{detection:?}: {sides:?}"
                );
                assert_eq!(detection.label, Shape::ALL[detection.class].name());
            }
        }
    }

    #[test]
    fn things_move_at_the_speed_that_was_asked_for() {
        let scene = scene(3);
        let (mut steps, mut bounced) = (0, 0);
        for n in 0..300 {
            for (from, to) in scene.poses(n).zip(scene.poses(n + 1)) {
                let way = (to.centre - from.centre).norm();
                assert!(
                    way <= 6.0 + 1e-9,
                    "60 px/s at 10 fps is 6 px a frame, not {way}"
                );
                steps += 1;
                bounced += i32::from(way < 6.0 - 1e-6);
            }
        }
        assert!(
            bounced * 8 < steps,
            "{bounced} of {steps} steps were not straight"
        );
    }

    #[test]
    fn a_box_is_exactly_what_is_drawn() {
        for shape in Shape::ALL {
            let pose = Pose {
                centre: Point2d::new(150.3, 99.6),
                radius: 27.0,
                angle: 0.4,
            };
            let mut picture =
                Mat::new_rows_cols_with_default(200, 300, core::CV_8UC3, Scalar::all(0.0)).unwrap();
            paint::object(
                &mut picture,
                shape,
                pose,
                Scalar::all(200.0),
                Scalar::all(200.0),
            )
            .unwrap();
            let mut grey = Mat::default();
            imgproc::cvt_color_def(&picture, &mut grey, imgproc::COLOR_BGR2GRAY).unwrap();
            // Soft edges reach a pixel further than the half-covered ones that count.
            let mut covered = Mat::default();
            imgproc::threshold(&grey, &mut covered, 90.0, 255.0, imgproc::THRESH_BINARY).unwrap();
            let drawn = imgproc::bounding_rect(&covered).unwrap();
            let drawn = [
                drawn.x,
                drawn.y,
                drawn.x + drawn.width,
                drawn.y + drawn.height,
            ]
            .map(f64::from);
            for (drawn, stated) in drawn.into_iter().zip(paint::bounds(shape, pose)) {
                assert!(
                    (drawn - stated).abs() <= 1.5,
                    "{shape:?}: drawn {drawn}, stated {stated}"
                );
            }
        }
    }

    #[test]
    fn what_is_hidden_is_not_in_the_truth() {
        let mut scene = scene(1);
        scene.objects.truncate(2);
        let (shape, radius) = (Shape::Ball, 30.0);
        for object in &mut scene.objects {
            (object.shape, object.radius, object.velocity) =
                (shape, radius, Point2d::new(0.0, 0.0));
            object.start = Point2d::new(100.0, 100.0);
        }
        assert_eq!(scene.truth(0).unwrap().len(), 1);
        scene.objects[0].start.x = 145.0;
        assert_eq!(scene.truth(0).unwrap().len(), 2);
    }

    #[test]
    fn a_frame_is_small_enough_for_a_lossy_path() {
        for seed in 0..5 {
            let jpeg = imaging::jpeg::encode(&scene(seed).draw(0).unwrap(), 80).unwrap();
            assert!(jpeg.len() < 15_000, "{} bytes", jpeg.len());
        }
    }

    #[test]
    fn any_size_can_be_drawn() {
        for (width, height) in [(1, 1), (16, 400), (640, 480)] {
            let scene = Scene::new(1, Size { width, height }, 10.0, 60.0).unwrap();
            let picture = scene.draw(5).unwrap();
            assert_eq!(
                (picture.cols(), picture.rows()),
                (width.into(), height.into())
            );
            scene.truth(5).unwrap();
        }
    }
}
