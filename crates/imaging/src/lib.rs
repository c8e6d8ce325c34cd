//! Pictures: the JPEG codec, picture files, drawing and, with the feature `window`, a window that shows them.
//!
//! The only calls of OpenCV's codec, drawing and window functions in Sightline.

pub mod draw;
mod fonts;
pub mod jpeg;
#[cfg(feature = "window")]
mod keys;
mod lettering;
pub mod sharpness;
pub mod still;
#[cfg(feature = "window")]
pub mod window;
