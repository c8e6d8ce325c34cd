//! One frame, parsed once at the trust boundary.

use bytes::Bytes;

use crate::geometry::Size;
use crate::label::Label;

/// A JPEG that passed [`crate::jpeg::scan`], with what the scan read. Behind the trust boundary its bytes are not
/// scanned again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The bytes as they came.
    pub jpeg: Bytes,
    /// Size in the JPEG's frame header, before any EXIF rotation.
    pub size: Size,
    /// The label in the JPEG. `None` also for a label that cannot be read, since the picture is good all the same.
    pub label: Option<Label>,
}
