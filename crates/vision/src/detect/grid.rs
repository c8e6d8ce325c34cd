//! The grids on which a YOLO network places its boxes. Pure.

use protocol::geometry::Size;

/// Strides of the grids that there are, P2 to P7. A model uses some that follow one another.
const STRIDES: [u16; 6] = [4, 8, 16, 32, 64, 128];
/// The strides of which every detector has one.
const MIDDLE: [u16; 3] = [8, 16, 32];
/// Most anchors of a cell: as many as YOLOv3 has on all its grids together.
const MAX_ANCHORS: u64 = 9;

/// Returns how many boxes there are in a cell if there are `boxes` for an input of this size: every number that some choice
/// of grids allows, the smallest first.
pub fn anchors(boxes: u64, net: Size) -> Vec<u64> {
    let mut found: Vec<u64> = grids()
        .map(|strides| cells(strides, net))
        .filter(|&cells| cells > 0 && boxes.is_multiple_of(cells))
        .map(|cells| boxes / cells)
        .filter(|anchors| (1..=MAX_ANCHORS).contains(anchors))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether there are `boxes` for an input of this size if each cell of three grids or more has so many, as in the models that
/// most people have.
pub fn is_usual(boxes: u64, anchors: u64, net: Size) -> bool {
    let mut many = grids().filter(|strides| strides.len() >= 3);
    many.any(|strides| anchors * cells(strides, net) == boxes)
}

/// Returns how many cells the grids of these strides have.
pub fn cells(strides: &[u16], net: Size) -> u64 {
    let of = |stride: &u16| {
        u64::from(net.width.div_ceil(*stride)) * u64::from(net.height.div_ceil(*stride))
    };
    strides.iter().map(of).sum()
}

fn grids() -> impl Iterator<Item = &'static [u16]> {
    let all = 0..STRIDES.len();
    let ranges = all.flat_map(|first| (first + 1..=STRIDES.len()).map(move |end| first..end));
    let grids = ranges.map(|range| &STRIDES[range]);
    grids.filter(|strides| strides.iter().any(|stride| MIDDLE.contains(stride)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: Size = Size {
        width: 640,
        height: 640,
    };

    #[test]
    fn any_number_of_grids_and_anchors_is_recognised() {
        for (strides, anchors_of_one) in [
            (&[8, 16, 32][..], 3),
            (&[8, 16, 32, 64], 3),
            (&[4, 8, 16, 32], 3),
            (&[8, 16], 3),
            (&[16, 32], 3),
            (&[8, 16, 32, 64, 128], 3),
            (&[8, 16, 32], 2),
            (&[8, 16, 32], 5),
            (&[8, 16, 32], 1),
            (&[32], 5),
        ] {
            for net in [
                NET,
                Size {
                    width: 480,
                    height: 320,
                },
                Size {
                    width: 64,
                    height: 32,
                },
            ] {
                let boxes = anchors_of_one * cells(strides, net);
                let found = anchors(boxes, net);
                assert!(
                    found.contains(&anchors_of_one),
                    "{strides:?} {net}: {found:?}"
                );
            }
        }
        assert_eq!(anchors(25_200, NET), [3]);
        assert_eq!(
            anchors(8400, NET),
            [1, 4],
            "four on the grids of 16, 32 and 64"
        );
    }

    #[test]
    fn usual_models_have_three_grids_or_more() {
        let small = Size {
            width: 320,
            height: 320,
        };
        assert!(is_usual(25_200, 3, NET) && is_usual(8400, 1, NET));
        assert!(is_usual(3 * cells(&[8, 16, 32, 64], NET), 3, NET));
        assert_eq!(anchors(300, small), [3], "at a stride of 32 alone");
        assert!(!is_usual(300, 3, small) && !is_usual(25_200, 1, NET));
    }

    #[test]
    fn other_numbers_of_boxes_are_on_no_grid() {
        for boxes in [0, 1, 85, 300, 8401, 25_201, u64::MAX] {
            assert_eq!(anchors(boxes, NET), Vec::<u64>::new(), "{boxes}");
        }
    }
}
