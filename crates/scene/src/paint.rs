//! Paints the scene: its objects, in exact outlines, and a background with the gradients and clutter of a photograph.
//!
//! Coordinates are pixels with fractions, as OpenCV's `shift` takes them, so that slow objects glide instead of jumping.

use opencv::core::{CV_8UC3, Mat, Point, Point2d, Scalar, Vector};
use opencv::imgproc::{self, FILLED, LINE_8, LINE_AA};
use opencv::prelude::*;
use opencv::{Result, core};
use protocol::geometry::Size;

use super::{Pose, Shape, random::Random};

/// Bits of a fraction of a pixel.
const FRACTION_BITS: i32 = 4;
/// Largest move of the noise between two frames.
const NOISE_MARGIN: i32 = 32;
/// Length of a star's points, in radii: they reach further than its height.
const STAR_REACH: f64 = 1.15;
/// Half widths of a cone and a crate, and radius of a ring's hole, in radii.
const CONE_WIDTH: f64 = 0.96;
const CRATE_WIDTH: f64 = 0.96;
const RING_HOLE: f64 = 0.55;

/// Returns how far from its centre an object can reach.
pub(super) fn reach(shape: Shape, radius: f64) -> f64 {
    match shape {
        Shape::Star => STAR_REACH * radius,
        _ => radius,
    }
}

/// Returns left, top, right and bottom of an object.
pub(super) fn bounds(shape: Shape, pose: Pose) -> [f64; 4] {
    let (c, r) = (pose.centre, pose.radius);
    match shape {
        Shape::Ball | Shape::Ring => [c.x - r, c.y - r, c.x + r, c.y + r],
        Shape::Crate | Shape::Cone | Shape::Star => outline(shape, pose).iter().fold(
            [
                f64::INFINITY,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NEG_INFINITY,
            ],
            |[x0, y0, x1, y1], p| [x0.min(p.x), y0.min(p.y), x1.max(p.x), y1.max(p.y)],
        ),
    }
}

/// Paints an object.
pub(super) fn object(
    picture: &mut Mat,
    shape: Shape,
    pose: Pose,
    colour: Scalar,
    accent: Scalar,
) -> Result<()> {
    match shape {
        Shape::Ball => ball(picture, pose, colour),
        Shape::Crate => wooden_crate(picture, pose, colour),
        Shape::Cone => cone(picture, pose, colour, accent),
        Shape::Star => star(picture, pose, colour, accent),
        Shape::Ring => ring(picture, pose, colour),
    }
}

/// Fills an object's area with one value, without soft edges.
pub(super) fn mask(mask: &mut Mat, shape: Shape, pose: Pose, value: f64) -> Result<()> {
    let value = Scalar::all(value);
    match shape {
        Shape::Ball => disc(mask, pose.centre, pose.radius, value, LINE_8),
        Shape::Ring => band(mask, pose, 1.0, RING_HOLE, value, LINE_8),
        Shape::Crate | Shape::Cone | Shape::Star => {
            polygon(mask, &outline(shape, pose), value, LINE_8)
        }
    }
}

/// Paints a ball: darker towards the rim, with a highlight at the upper left.
fn ball(picture: &mut Mat, pose: Pose, colour: Scalar) -> Result<()> {
    for step in 0..6 {
        let share = f64::from(step) / 6.0;
        let off = 0.28 * share * pose.radius;
        let centre = Point2d::new(pose.centre.x - off, pose.centre.y - off);
        disc(
            picture,
            centre,
            pose.radius * (1.0 - 0.85 * share),
            shaded(colour, 0.55 + 0.75 * share),
            LINE_AA,
        )?;
    }
    let glint = pose.centre - Point2d::new(0.36, 0.36) * pose.radius;
    disc(
        picture,
        glint,
        0.13 * pose.radius,
        Scalar::all(250.0),
        LINE_AA,
    )
}

/// Paints a crate: a frame of boards around upright planks, and a board across.
fn wooden_crate(picture: &mut Mat, pose: Pose, colour: Scalar) -> Result<()> {
    let at =
        |x: f64, y: f64| pose.centre + Point2d::new(x * CRATE_WIDTH, y * CRATE_WIDTH) * pose.radius;
    let quad = |points: [(f64, f64); 4]| points.map(|(x, y)| at(x, y));
    let boards = shaded(colour, 0.6);
    polygon(picture, &outline(Shape::Crate, pose), boards, LINE_AA)?;
    polygon(
        picture,
        &quad([(-0.74, -0.74), (0.74, -0.74), (0.74, 0.74), (-0.74, 0.74)]),
        colour,
        LINE_AA,
    )?;
    for x in [-0.37, 0.0, 0.37] {
        let gap = quad([
            (x - 0.025, -0.74),
            (x + 0.025, -0.74),
            (x + 0.025, 0.74),
            (x - 0.025, 0.74),
        ]);
        polygon(picture, &gap, shaded(colour, 0.35), LINE_AA)?;
    }
    let across = quad([(-0.74, 0.5), (-0.5, 0.74), (0.74, -0.5), (0.5, -0.74)]);
    polygon(picture, &across, shaded(boards, 1.25), LINE_AA)
}

/// Paints a cone: a foot, a body lit from the left, and two stripes.
fn cone(picture: &mut Mat, pose: Pose, colour: Scalar, accent: Scalar) -> Result<()> {
    let at = |x: f64, y: f64| pose.centre + Point2d::new(x, y) * pose.radius;
    // The body is 0.15 wide at the top and 0.7 at the foot.
    let side = |y: f64| 0.15 + 0.55 * (y + 1.0) / 1.7;
    let slice = |top: f64, bottom: f64| {
        [
            at(-side(top), top),
            at(side(top), top),
            at(side(bottom), bottom),
            at(-side(bottom), bottom),
        ]
    };
    polygon(
        picture,
        &[
            at(-CONE_WIDTH, 0.7),
            at(CONE_WIDTH, 0.7),
            at(CONE_WIDTH, 1.0),
            at(-CONE_WIDTH, 1.0),
        ],
        shaded(colour, 0.6),
        LINE_AA,
    )?;
    polygon(picture, &slice(-1.0, 0.7), colour, LINE_AA)?;
    for (top, bottom) in [(-0.6, -0.3), (0.05, 0.35)] {
        polygon(picture, &slice(top, bottom), accent, LINE_AA)?;
    }
    let shade = [
        at(0.08, -1.0),
        at(side(-1.0), -1.0),
        at(side(0.7), 0.7),
        at(0.45, 0.7),
    ];
    polygon(picture, &shade, shaded(colour, 0.7), LINE_AA)
}

/// Paints a star: a rim in the accent's colour around the star's own.
fn star(picture: &mut Mat, pose: Pose, colour: Scalar, accent: Scalar) -> Result<()> {
    let inner = Pose {
        radius: 0.8 * pose.radius,
        ..pose
    };
    polygon(picture, &outline(Shape::Star, pose), accent, LINE_AA)?;
    polygon(picture, &outline(Shape::Star, inner), colour, LINE_AA)
}

/// Paints a ring: a band with a lighter line in its middle.
fn ring(picture: &mut Mat, pose: Pose, colour: Scalar) -> Result<()> {
    band(picture, pose, 1.0, RING_HOLE, shaded(colour, 0.65), LINE_AA)?;
    band(picture, pose, 0.93, RING_HOLE + 0.07, colour, LINE_AA)?;
    band(picture, pose, 0.83, 0.73, shaded(colour, 1.4), LINE_AA)
}

/// Returns the corners of an object that has corners.
fn outline(shape: Shape, pose: Pose) -> Vec<Point2d> {
    let corners: Vec<(f64, f64)> = match shape {
        Shape::Star => (0..10).map(|n| spike(n, pose.angle)).collect(),
        Shape::Cone => vec![
            (-0.15, -1.0),
            (0.15, -1.0),
            (0.7, 0.7),
            (CONE_WIDTH, 0.7),
            (CONE_WIDTH, 1.0),
            (-CONE_WIDTH, 1.0),
            (-CONE_WIDTH, 0.7),
            (-0.7, 0.7),
        ],
        Shape::Crate | Shape::Ball | Shape::Ring => vec![
            (-CRATE_WIDTH, -CRATE_WIDTH),
            (CRATE_WIDTH, -CRATE_WIDTH),
            (CRATE_WIDTH, CRATE_WIDTH),
            (-CRATE_WIDTH, CRATE_WIDTH),
        ],
    };
    let place = |(x, y)| pose.centre + Point2d::new(x, y) * pose.radius;
    corners.into_iter().map(place).collect()
}

/// Returns a star's corner, by turns a point and a notch.
fn spike(n: u32, angle: f64) -> (f64, f64) {
    let far = if n.is_multiple_of(2) {
        STAR_REACH
    } else {
        0.46 * STAR_REACH
    };
    let (sin, cos) = (angle + f64::from(n) * std::f64::consts::TAU / 10.0).sin_cos();
    (far * cos, far * sin)
}

fn polygon(picture: &mut Mat, corners: &[Point2d], colour: Scalar, line: i32) -> Result<()> {
    let corners: Vector<Point> = corners.iter().map(|p| fixed_point(*p)).collect();
    let polygons: Vector<Vector<Point>> = [corners].into_iter().collect();
    imgproc::fill_poly(
        picture,
        &polygons,
        colour,
        line,
        FRACTION_BITS,
        Point::new(0, 0),
    )
}

fn disc(picture: &mut Mat, centre: Point2d, radius: f64, colour: Scalar, line: i32) -> Result<()> {
    imgproc::circle(
        picture,
        fixed_point(centre),
        to_fixed(radius),
        colour,
        FILLED,
        line,
        FRACTION_BITS,
    )
}

/// Fills the area between two circles, as one polygon that runs around both; OpenCV fills it by the even-odd rule.
fn band(
    picture: &mut Mat,
    pose: Pose,
    outer: f64,
    inner: f64,
    colour: Scalar,
    line: i32,
) -> Result<()> {
    const CORNERS: u32 = 48;
    let circle = |radius: f64| -> Vector<Point> {
        let corner = |n: u32| {
            let (sin, cos) = (f64::from(n) * std::f64::consts::TAU / f64::from(CORNERS)).sin_cos();
            fixed_point(pose.centre + Point2d::new(cos, sin) * (radius * pose.radius))
        };
        (0..CORNERS).map(corner).collect()
    };
    let circles: Vector<Vector<Point>> = [circle(outer), circle(inner)].into_iter().collect();
    imgproc::fill_poly(
        picture,
        &circles,
        colour,
        line,
        FRACTION_BITS,
        Point::new(0, 0),
    )
}

/// Returns a point as OpenCV's fixed-point numbers. OpenCV's pixel centres are whole numbers, those here are halves: a box
/// from 0 to 1 is the first pixel.
fn fixed_point(p: Point2d) -> Point {
    Point::new(to_fixed(p.x - 0.5), to_fixed(p.y - 0.5))
}

fn to_fixed(x: f64) -> i32 {
    (x * f64::from(1 << FRACTION_BITS)).round() as i32
}

fn shaded(colour: Scalar, light: f64) -> Scalar {
    Scalar::from(colour.0.map(|c| (c * light).min(255.0)))
}

/// Returns soft colours of several scales, and clutter with and without blur.
pub(super) fn background(random: &mut Random, size: Size) -> Result<Mat> {
    let (width, height) = (i32::from(size.width), i32::from(size.height));
    let mut picture = clouds(random, (3, 2), width, height)?;
    for (cells, share) in [((9, 6), 0.35), ((40, 27), 0.2)] {
        let finer = clouds(random, cells, width, height)?;
        let mut mixed = Mat::default();
        core::add_weighted(&picture, 1.0 - share, &finer, share, 0.0, &mut mixed, -1)?;
        picture = mixed;
    }
    for _ in 0..4 + random.below(6) {
        clutter(random, &mut picture)?;
    }
    let sigma = random.between(0.6, 2.2) * f64::from(width) / 300.0;
    let mut soft = Mat::default();
    imgproc::gaussian_blur(
        &picture,
        &mut soft,
        core::Size::default(),
        sigma.max(0.3),
        0.0,
        core::BORDER_DEFAULT,
    )?;
    for _ in 0..random.below(4) {
        clutter(random, &mut soft)?;
    }
    Ok(soft)
}

/// Returns a few random colours, drawn large and smooth.
fn clouds(random: &mut Random, (cols, rows): (i32, i32), width: i32, height: i32) -> Result<Mat> {
    let mut cells = Mat::new_rows_cols_with_default(rows, cols, CV_8UC3, Scalar::all(0.0))?;
    for cell in cells.data_typed_mut::<core::Vec3b>()? {
        let colour = random.dull();
        *cell = core::Vec3b::from([colour[0] as u8, colour[1] as u8, colour[2] as u8]);
    }
    let mut out = Mat::default();
    imgproc::resize(
        &cells,
        &mut out,
        core::Size::new(width, height),
        0.0,
        0.0,
        imgproc::INTER_CUBIC,
    )?;
    Ok(out)
}

/// Paints a shape that is not an object: a slanted quadrilateral, a line, or an oval.
fn clutter(random: &mut Random, picture: &mut Mat) -> Result<()> {
    let (width, height) = (f64::from(picture.cols()), f64::from(picture.rows()));
    let centre = Point2d::new(random.between(0.0, width), random.between(0.0, height));
    let colour = random.dull();
    let (long, slim) = (
        random.between(0.08, 0.4) * width,
        random.between(0.01, 0.16) * width,
    );
    let angle = random.between(0.0, 180.0);
    if random.below(3) == 0 {
        let axes = core::Size::new(to_fixed(long), to_fixed(slim.min(0.6 * long)));
        return imgproc::ellipse(
            picture,
            fixed_point(centre),
            axes,
            angle,
            0.0,
            360.0,
            colour,
            FILLED,
            LINE_AA,
            FRACTION_BITS,
        );
    }
    let (sin, cos) = angle.to_radians().sin_cos();
    let lean = random.between(-0.5, 0.5);
    let corner = |x: f64, y: f64| {
        let (x, y) = ((x + lean * y) * long, y * slim);
        centre + Point2d::new(x * cos - y * sin, x * sin + y * cos)
    };
    polygon(
        picture,
        &[
            corner(-0.5, -0.5),
            corner(0.5, -0.5),
            corner(0.5, 0.5),
            corner(-0.5, 0.5),
        ],
        colour,
        LINE_AA,
    )
}

/// Returns a sheet of noise from 0 to twice `strength`, larger than the picture so that each frame can take another part of it.
pub(super) fn noise(random: &mut Random, size: Size, strength: i32) -> Result<Mat> {
    let (cols, rows) = (
        i32::from(size.width) + NOISE_MARGIN,
        i32::from(size.height) + NOISE_MARGIN,
    );
    let mut sheet = Mat::new_rows_cols_with_default(rows, cols, CV_8UC3, Scalar::all(0.0))?;
    for level in sheet.data_bytes_mut()? {
        // The sum of two is nearer to a camera's noise than one.
        let half = strength as usize + 1;
        *level = (random.below(half) + random.below(half)) as u8;
    }
    Ok(sheet)
}
