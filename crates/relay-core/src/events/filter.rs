//! Which of the model's detections count at a camera.

use protocol::detections::Detection;

use super::polygon::Polygon;

/// The filter of one camera. It hides detections, and so tracks, boxes and events; the picture it leaves as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DetectionFilter {
    /// Lowest score.
    pub conf: f32,
    /// Names or numbers of the classes; empty for all.
    pub classes: Vec<String>,
    /// Parts of the picture in which nothing counts that stands there.
    pub mask: Vec<Polygon>,
}

impl DetectionFilter {
    /// Returns whether a detection counts.
    pub fn keeps(&self, found: &Detection) -> bool {
        let is_class = |class: &String| {
            let class = class.trim();
            class == found.label || class.parse() == Ok(found.class)
        };
        found.score >= self.conf
            && (self.classes.is_empty() || self.classes.iter().any(is_class))
            && !self.mask.iter().any(|mask| mask.holds(found.bbox))
    }
}

#[cfg(test)]
mod tests {
    use protocol::geometry::BBox;

    use super::*;

    fn person(score: f32, foot: f32) -> Detection {
        Detection {
            id: None,
            class: 7,
            label: "person".to_owned(),
            score,
            fading: false,
            bbox: BBox::new(0.4, foot - 0.3, 0.6, foot),
        }
    }

    #[test]
    fn a_detection_counts_by_score_class_and_place() {
        let upper = vec![[0.0, 0.0], [1.0, 0.0], [1.0, 0.5], [0.0, 0.5]];
        let mut filter = DetectionFilter {
            conf: 0.5,
            classes: vec!["dog".to_owned(), "person".to_owned()],
            mask: vec![Polygon::new(upper).unwrap()],
        };
        assert!(filter.keeps(&person(0.5, 0.9)));
        assert!(!filter.keeps(&person(0.49, 0.9)));
        // Its box reaches far below the mask's edge; what counts is where it stands.
        assert!(!filter.keeps(&person(0.9, 0.45)) && filter.keeps(&person(0.9, 0.55)));
        filter.classes = vec!["7".to_owned()];
        assert!(filter.keeps(&person(0.9, 0.9)));
        filter.classes = vec!["8".to_owned()];
        assert!(!filter.keeps(&person(0.9, 0.9)));
        filter.classes.clear();
        assert!(filter.keeps(&person(0.9, 0.9)));
    }
}
